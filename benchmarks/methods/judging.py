"""Judge a model on the clips of its study, clip by clip."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from methods.results import Judged
from methods.studies import Study
from prune_ssl.data import Clip, ClipDataset, SpeechFolder
from prune_ssl.recipes import Recipe
from prune_ssl.tasks import Task, TaskSettings, task_class
from prune_ssl.tasks.frames import frame_counts
from prune_ssl.tasks.inference import load_extractor
from prune_ssl.tasks.metrics import edit_counts
from prune_ssl.tasks.verification import Verification, cosines, trials_of

BATCH = 32
DIGITS = 5
"""Decimals of the scores of trials."""
Vectors = list[npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Outcomes:
    """What a model made of each clip, and what it was judged on."""

    judged: Judged
    outcomes: str | tuple[float, ...]


def judge(study: Study, recipe: Recipe, model: PreTrainedModel, source: Path, split: str) -> Outcomes:
    """Judge a model on a split of its corpus.

    Args:
        study: The study.
        recipe: The recipe of the model's run: it names the corpus and the task.
        model: The model.
        source: A folder with the model's feature extractor (and the tokenizer, for which the model came from
            there).
        split: `test` or `validation`.
    """
    root = Path(recipe.data.path)
    clips = judged_clips(root / split, task_class(recipe.task), recipe.data.max_seconds)
    # The split stands in for train, which is not read: it has all labels, and texts in the same case.
    folder = SpeechFolder(root, {"train": clips, split: clips}, ())
    task = task_class(recipe.task).from_folder(folder, model, TaskSettings())
    vectors = _outputs(task, model.eval(), clips, source)
    facts: dict[str, Any] = {
        "study": study.name,
        "metric": study.metric,
        "split": split,
        "files": tuple(clip.path.name for clip in clips),
        "speakers": tuple(clip.speaker or "" for clip in clips),
    }
    if study.metric == "accuracy":
        right = (task.encode(clip.target) == row.argmax() for clip, row in zip(clips, vectors, strict=True))
        return Outcomes(Judged(**facts), "".join(str(int(each)) for each in right))
    if study.metric == "wer":
        counts = _word_errors(task, model, clips, vectors)
        return Outcomes(Judged(**facts, words=tuple(counts.lengths.tolist())), tuple(counts.errors.tolist()))
    assert isinstance(task, Verification)
    trials = _trials(task, clips)
    scores = cosines(np.stack(vectors), np.array(trials)[:, :2])
    return Outcomes(Judged(**facts, trials=trials), tuple(round(float(score), DIGITS) for score in scores))


def judged_clips(folder: Path, task: type[Task], max_seconds: float) -> tuple[Clip, ...]:
    """Return the clips of a split as a run judges them, without a look at the other splits."""
    return tuple(_clips(folder, task, max_seconds))


def _clips(folder: Path, task: type[Task], max_seconds: float) -> Iterator[Clip]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            info = soundfile.info(folder / row["file_name"])
            seconds = info.frames / info.samplerate
            seconds = seconds if task.spec.whole_clips else min(seconds, max_seconds)
            yield Clip(folder / row["file_name"], row[task.spec.target].strip(), seconds, row["speaker"])


@torch.inference_mode()
def _outputs(task: Task, model: PreTrainedModel, clips: tuple[Clip, ...], source: Path) -> Vectors:
    """Return the logits or the embedding of each clip."""
    collate = task.collator(task.processor(load_extractor(str(source))))
    order = sorted(range(len(clips)), key=lambda index: clips[index].seconds)
    dataset = ClipDataset([clips[index] for index in order], lambda target: None)
    found: dict[int, npt.NDArray[np.float32]] = {}
    for batch in DataLoader(dataset, batch_size=BATCH, collate_fn=collate):
        outputs = model(**batch)
        rows = outputs.embeddings if isinstance(task, Verification) else outputs.logits
        for row in rows:
            found[order[len(found)]] = row.numpy()
    return [found[index] for index in range(len(clips))]


def _word_errors(task: Any, model: PreTrainedModel, clips: tuple[Clip, ...], vectors: Vectors) -> Any:
    frames = frame_counts(clips, model)
    texts = [task.decode(row[:count].argmax(-1)) for row, count in zip(vectors, frames, strict=True)]
    return edit_counts(texts, [task.written(clip.target) for clip in clips])


def _trials(task: Verification, clips: tuple[Clip, ...]) -> tuple[tuple[int, int, int], ...]:
    places = {clip.path: index for index, clip in enumerate(clips)}
    trials = trials_of(clips, task.trials)
    return tuple((places[each.first], places[each.second], int(each.same)) for each in trials)
