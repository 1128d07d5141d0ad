"""Looks at a model's config and at the lists of a corpus: the task of the one, those that the other feeds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from prune_ssl.data import SPLITS, read_header
from prune_ssl.data.files import is_folder
from prune_ssl.data.layouts import read_listings
from prune_ssl.data.metadata import FILE_COLUMN, SPEAKER_COLUMN
from prune_ssl.errors import DataError, ModelError
from prune_ssl.models import FAMILIES
from prune_ssl.models.places import locate
from prune_ssl.models.registry import PRUNED_PREFIX
from prune_ssl.tasks import TASKS

HEADS = {
    "ForCTC": "ctc",
    "ForSequenceClassification": "classification",
    "ForAudioClassification": "classification",
    "ForXVector": "speaker_verification",
}
"""The task of each head, by the end of the name of the model's class."""

LABELS = ("label", "intent", "keyword", "word", "command", "class", "category", "emotion", "language")
COLUMNS: dict[str, tuple[str, ...]] = {
    "classification": LABELS,
    "ctc": ("text", "transcription", "transcript", "sentence"),
    "phonemes": ("phonemes",),
    "speaker_verification": (SPEAKER_COLUMN,),
}
"""The columns that feed each task, the usual one first. `init` and `doctor data` look for them."""

HEADERS = 40
"""The number of train clips whose length is looked at."""


@dataclass(frozen=True)
class ModelLook:
    """The facts that the config of a model tells. Its weights are not read."""

    name: str
    """The folder or hub name, as it was given."""
    family: str
    kind: str
    """The class that wrote it, such as `HubertForCTC`, or an empty text."""
    task: str
    """The task of its head. Empty: it is bare, or has a head for pre-training."""
    labels: tuple[str, ...]
    """The labels of a classifier. Empty for other heads."""
    width: int
    """The hidden size."""
    pruned: bool
    """Whether prune_ssl has pruned it before."""


@dataclass(frozen=True)
class CorpusLook:
    """The facts that the lists of a corpus and the headers of a few clips tell."""

    path: str
    """The folder, as it was given."""
    clips: Mapping[str, int]
    """The number of clips of each split."""
    values: Mapping[str, Mapping[str, int]]
    """The values of each column in the train split, and how often each occurs. Names are in lower case."""
    seconds: float
    """The median length of the clips that were looked at."""
    longest: float
    """The longest of them in seconds."""
    rates: tuple[int, ...]
    """Their sample rates in Hz."""

    def column_of(self, task: str) -> str:
        """Return the column that feeds a task, or an empty text if there is none."""
        wanted = COLUMNS.get(task) or tuple(filter(None, [TASKS[task].spec.target]))
        return next((each for each in wanted if any(self.values.get(each, {}))), "")

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that the columns can feed. Any corpus feeds `representation`, which needs no labels."""
        return (*(task for task in COLUMNS if self.column_of(task)), "representation")


def look_at_model(name: str) -> ModelLook:
    """Read the config of a model.

    Args:
        name: A folder, or the name of a repository of the hub, which is then downloaded.

    Raises:
        ModelError: there is no such model, it holds no readable config, or its family is not known.

    >>> from transformers import HubertConfig
    >>> HubertConfig(architectures=["HubertForCTC"]).save_pretrained("given")
    >>> look_at_model("given").task
    'ctc'
    """
    folder = locate(name).folder
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model_type = str(config["model_type"])
    except OSError as error:
        raise ModelError(f"{name} holds no config.json: give the folder of a transformers model.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{name}: its config.json names no model_type ({type(error).__name__}): give the folder of a "
            "transformers model."
        ) from error
    family = model_type.removeprefix(PRUNED_PREFIX)
    known = [each for each, found in FAMILIES.items() if found.classes and found.input.extractor]
    if family not in known:
        raise ModelError(f"{name} is a {family[:60]!r}, which cannot be pruned; wanted {', '.join(known)}.")
    kind = next(iter(config.get("architectures") or ()), "")
    task = HEADS.get(_end(kind), "")
    if task == "ctc" and "Phoneme" in _tokenizer_class(folder):
        task = "phonemes"
    labels = config.get("id2label") or {}
    return ModelLook(
        name=name,
        family=family,
        kind=kind,
        task=task,
        labels=tuple(map(str, labels.values())) if task == "classification" else (),
        width=int(config.get("hidden_size") or 768),
        pruned=model_type != family,
    )


def _end(kind: str) -> str:
    found = re.search(r"For[A-Z]\w*$", kind)
    return found[0] if found else ""


def _tokenizer_class(folder: Path) -> str:
    try:
        found = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        return str(found.get("tokenizer_class", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def look_at_corpus(path: str | Path) -> CorpusLook:
    r"""Read the lists of a corpus, and the headers of a few train clips.

    Raises:
        DataError: the folder or its lists cannot be read, or train has no clips.

    >>> import numpy, soundfile
    >>> Path("corpus/train").mkdir(parents=True)
    >>> _ = Path("corpus/train/metadata.csv").write_text("file_name,label\nyes.wav,yes\n")
    >>> soundfile.write("corpus/train/yes.wav", numpy.zeros(8_000), 16_000)
    >>> look_at_corpus("corpus").tasks, look_at_corpus("corpus").seconds
    (('classification', 'representation'), 0.5)
    """
    root = Path(path)
    if not is_folder(root):
        raise DataError(
            f"{root}: no such folder: give a folder with train/ in it, or a corpus as it was unpacked"
        )
    listings = read_listings(root, target=None)
    if not (listings.get("train") and listings["train"].rows):
        raise DataError(f"{root}: no train clips are listed in it: wanted train/metadata.csv")
    train = listings["train"]
    values: dict[str, dict[str, int]] = {}
    for row in train.rows:
        for column, value in row.items():
            counts = values.setdefault(column.casefold(), {})
            counts[value.strip()] = counts.get(value.strip(), 0) + 1
    values.pop(FILE_COLUMN, None)
    headers = []
    for row in train.rows[:: -(-len(train.rows) // HEADERS)]:
        try:
            headers.append(read_header(train.locate(row)))
        except DataError:  # a run, and `doctor data`, name the broken clips
            continue
    if not headers:
        raise DataError(
            f"{root}: none of the clips looked at can be read: `prune-ssl doctor data` names them"
        )
    lengths = [each.frames / each.sample_rate_hz for each in headers]
    return CorpusLook(
        path=str(path),
        clips={split: len(listings[split].rows) for split in SPLITS if split in listings},
        values=values,
        seconds=median(lengths),
        longest=max(lengths),
        rates=tuple(sorted({each.sample_rate_hz for each in headers})),
    )


def shown_values(values: Mapping[str, int], most: int = 5) -> str:
    """Return the number of different values, and the commonest and the rarest of them if they are few.

    >>> shown_values({"yes": 3, "no": 1})
    '2 different: yes (3), no (1)'
    """
    ranked: Sequence[tuple[str, int]] = sorted(values.items(), key=lambda each: -each[1])
    if len(ranked) > most:
        ranked = [*ranked[: most - 1], ("...", 0), ranked[-1]] if ranked[0][1] > 1 else []
    named = ", ".join(f"{name[:20]} ({count})" if count else name for name, count in ranked)
    return f"{len(values)} different{': ' * bool(named)}{named}"
