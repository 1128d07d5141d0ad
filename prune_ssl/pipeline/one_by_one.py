"""Judge any function of a task's inputs on the clips of a corpus, one clip at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import EvalPrediction

from prune_ssl.data.collate import IGNORED
from prune_ssl.errors import ExportError
from prune_ssl.exporting.transcribing import Transcriber
from prune_ssl.pipeline.judging import Judging
from prune_ssl.reporting.assembly import task_metrics
from prune_ssl.tasks import ClipJudge
from prune_ssl.tasks.ctc import Recognition
from prune_ssl.tasks.differences import AnyOutcomes

Run = Callable[[dict[str, torch.Tensor]], tuple[torch.Tensor, ...]]
"""Maps the inputs of one clip, by the names of the model's arguments, to the outputs, the logits first."""


@dataclass(frozen=True)
class Verdict:
    """The metrics of a model or a file, and its outcomes on each clip if the task keeps them."""

    metrics: Mapping[str, float]
    outcomes: AnyOutcomes | None


def judge_outputs(judging: Judging, run: Run) -> Verdict:
    """Judge a function on each clip alone, so that no output depends on padding.

    Args:
        judging: The task and the clips.
        run: The model, or a file in its runtime.

    Raises:
        ExportError: the task has no metric.
    """
    arguments = judging.arguments()
    clips, collate, judge = (arguments[name] for name in ("eval_dataset", "data_collator", "compute_metrics"))
    if judge is None:
        raise ExportError(f"the task {judging.task.spec.name} has no metric, so it cannot judge an export.")
    outputs, labels = [], []
    for index in range(len(clips)):
        batch = collate([clips[index]])
        label = batch.pop("labels", None)
        outputs.append(judging.task.slim(run(batch), label).float().numpy())
        if label is not None:
            labels.append(label.numpy())
    metrics = judge(EvalPrediction(_joined(outputs), _joined(labels) if labels else np.empty(0)))
    return Verdict(task_metrics("eval", metrics), judge.outcomes if isinstance(judge, ClipJudge) else None)


def judge_texts(judging: Judging, transcribe: Transcriber) -> Verdict:
    """Judge a runtime whose output is text.

    Args:
        judging: The task, which recognises speech, and the clips.
        transcribe: Maps a waveform to its text.

    Raises:
        ExportError: the task has no texts.
    """
    if not isinstance(judging.task, Recognition):
        raise ExportError(f"the task {judging.task.spec.name} has no texts, which this runtime gives.")
    texts = [transcribe(clip.waveform()) for clip in judging.clips]
    metrics, outcomes = judging.task.judge_texts(judging.clips, texts)
    return Verdict(task_metrics("eval", metrics), outcomes)


def _joined(rows: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    """Return the rows (1, ...) as one array (B, ...), padded at the end of their second axis."""
    longest = max((row.shape[1] for row in rows if row.ndim > 1), default=0)
    return np.concatenate([_padded(row, longest) for row in rows])


def _padded(row: NDArray[np.generic], length: int) -> NDArray[np.generic]:
    """Return a row (1, ...) whose second axis, if it has one, is padded to a length."""
    if row.ndim < 2:
        return row
    ends = [(0, 0), (0, length - row.shape[1]), *[(0, 0)] * (row.ndim - 2)]
    return np.pad(row, ends, constant_values=IGNORED)
