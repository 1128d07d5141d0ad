"""Owns StepClips: which clips a training step heard, and which of them hold samples that are not finite."""

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import torch

from prune_ssl.errors import TrainingError

CLIPS = "clip_indices"
"""In items and batches of training, which clips they are; models never see it."""
LISTED = 8  # clips that a message names; the others are counted


class NamedBatches:
    """A collator that carries the numbers of the items, where they have some, past another one."""

    def __init__(self, collator: Callable[[list[object]], object]) -> None:
        self.collator = collator

    def __call__(self, items: Sequence[object]) -> object:
        """Collate; the batch gets `clip_indices` (B,)."""
        if not all(isinstance(item, Mapping) and CLIPS in item for item in items):
            return self.collator(list(items))
        clips = [dict(item) for item in items if isinstance(item, Mapping)]
        numbers = torch.tensor([clip.pop(CLIPS) for clip in clips])
        batch = self.collator([*clips])
        if isinstance(batch, MutableMapping):
            batch[CLIPS] = numbers
        return batch


class StepClips:
    """The clips of each micro-batch of a training step, and what a message says of them."""

    def __init__(self) -> None:
        # Of each micro-batch: the numbers of its clips, if known, and its rows with odd samples.
        self._batches: list[tuple[list[int] | None, list[int]]] = []

    def add(self, clips: object, inputs: Mapping[str, object] | None = None) -> None:
        """Note a micro-batch.

        Args:
            clips: `clip_indices` of the batch (B,), or None.
            inputs: the batch, to be searched for samples that are not finite; None: it is not searched.
        """
        self._batches.append((_numbers(clips), _odd_rows(inputs)))

    def clear(self) -> None:
        """Begin a new step."""
        self._batches.clear()

    def __bool__(self) -> bool:
        return bool(self._batches)

    def sentence(self, dataset: object) -> str:
        """Name the clips of the step; those with odd samples first.

        Args:
            dataset: of training; its clips have files.
        """
        odd = [numbers[row] for numbers, rows in self._batches if numbers is not None for row in rows]
        numbers = [each for some, _ in self._batches for each in some or ()]
        rows = [row for some, rows in self._batches if some is None for row in rows]
        names = clip_names(dataset)
        said = []
        if odd:
            said.append(f"Not finite are the samples of {_listed(map(names, odd))}.")
        if rows:
            said.append(f"Not finite are the samples of rows {_listed(map(str, rows))} of the batch.")
        if numbers:
            said.append(f"The clips of this step: {_listed(map(names, numbers))}.")
        return " ".join(said) or "Which clips these are, this dataset does not say."


def clip_names(dataset: Any) -> Callable[[int], str]:
    """Return what names the item of an index: by its file, where the dataset (or what it wraps) has clips."""
    while not hasattr(dataset, "clips"):
        inner = [getattr(dataset, name, None) for name in ("items", "clean", "dataset")]
        inside = next((each for each in inner if each is not None and not callable(each)), None)
        if inside is None or isinstance(inside, list | tuple):
            return lambda index: f"item {index} of the training data"
        dataset = inside
    return lambda index: str(dataset.clips[index].path)


def require_finite_batch(batch: Mapping[str, object], dataset: object, what: str) -> None:
    """Refuse a batch whose samples are not finite.

    Raises:
        TrainingError: the message names its clips.
    """
    rows, numbers = _odd_rows(batch), _numbers(batch.get(CLIPS))
    if rows:
        names = [
            f"row {row} of a batch" if numbers is None else clip_names(dataset)(numbers[row]) for row in rows
        ]
        raise TrainingError(
            f"{what}: the samples of {_listed(names)} are not finite (NaN or infinite). Take these clips out."
        )


def _numbers(clips: object) -> list[int] | None:
    return clips.tolist() if isinstance(clips, torch.Tensor) else None


def _odd_rows(inputs: Mapping[str, object] | None) -> list[int]:
    """Return the rows of a batch that hold a number which is not finite."""
    rows: set[int] = set()
    for value in (inputs or {}).values():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() > 1:
            rows.update((~torch.isfinite(value)).flatten(1).any(1).nonzero().flatten().tolist())
    return sorted(rows)


def _listed(names: Iterable[str]) -> str:
    every = list(dict.fromkeys(names))
    more = f" and {len(every) - LISTED} more" if len(every) > LISTED else ""
    return ", ".join(every[:LISTED]) + more
