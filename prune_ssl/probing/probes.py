"""The training of a probe: a head on frozen states at each learning rate of a grid; validation chooses one.

It follows s3prl's downstream training: Adam, no schedule, gradients clipped to norm 1. The encoder never
changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import cross_entropy, ctc_loss
from transformers import EvalPrediction, PreTrainedModel, SequenceFeatureExtractor

from prune_ssl.data import Clip, Corruption, FolderConfig, Lexicon, SpeechFolder, check_folder
from prune_ssl.data.layouts import read_listings
from prune_ssl.distillation import Projections
from prune_ssl.errors import DataError
from prune_ssl.models import backbone_of
from prune_ssl.probing.deep_heads import RecurrentProbe, XVectorProbe
from prune_ssl.probing.heads import Probe
from prune_ssl.probing.settings import ProbeSettings
from prune_ssl.probing.states import MEMORY_BYTES, FrozenStates
from prune_ssl.tasks import (
    Classification,
    Label,
    Recognition,
    Slots,
    Task,
    TaskSettings,
    Verification,
    task_class,
)

EVALUATIONS = 10
"""How often a training judges the validation split. The best head is kept."""

SomeProbe = Probe | RecurrentProbe | XVectorProbe
Loss = Callable[[torch.Tensor, torch.Tensor, Sequence[Label]], torch.Tensor]
"""Maps outputs, valid frames and labels of a batch to its loss."""


@dataclass(frozen=True)
class Trained:
    """One trained head and its results."""

    learning_rate: float
    validation: float
    """The metric on validation at the kept step."""
    step: int
    """The step whose weights were kept."""
    test: dict[str, float]
    """All metrics on test (or on validation if there is no test split)."""
    layer_weights: tuple[float, ...]
    """The weights of the hidden states, starting with the frontend's. They sum to 1."""
    under: Mapping[str, dict[str, float]] = field(default_factory=dict)
    """All metrics on the same clips under noise and in rooms, by the name of the condition."""


@dataclass(frozen=True)
class Probed:
    """The result of a probe of one task, over one folder or several folds."""

    metric: str
    """The name of the metric."""
    value: float
    """The test metric of the head that validation chose, averaged over the folds."""
    folds: tuple[tuple[Trained, ...], ...]
    """All trained heads of each fold, the chosen one first."""

    @property
    def under(self) -> dict[str, float]:
        """The metric under each condition, averaged over the folds."""
        chosen = [heads[0] for heads in self.folds]
        return {
            name: float(np.mean([head.under[name][self.metric] for head in chosen]))
            for name in chosen[0].under
        }


def probe(
    model: PreTrainedModel,
    extractor: SequenceFeatureExtractor,
    data: str | Path,
    settings: ProbeSettings,
    *,
    say: Callable[[str], None] = print,
    keep: Callable[[Sequence[Sequence[Trained]]], None] | None = None,
    projections: Projections | None = None,
    conditions: Mapping[str, Corruption] | None = None,
) -> Probed:
    """Train the task's head on a frozen encoder at every learning rate, and judge the best head on test.

    Args:
        model: A dense or pruned model. It stays unchanged, but is set to evaluation mode. Heads learn on its
            device.
        extractor: The model's feature extractor.
        data: A folder with train/, validation/ and perhaps test/, or a folder of such folders (folds).
        settings: One of `PROBES`, perhaps with fewer steps.
        say: Called with one line for each trained head.
        keep: Called after each head with all heads so far, by fold.
        projections: The kept maps of a student, for the features `projected`.
        conditions: Noise and rooms under which each head is judged as well, by name. Heads train on the
            clips as they are.

    Raises:
        DataError: the data cannot be used.
    """
    folds = _folds(Path(data))
    results: list[tuple[Trained, ...]] = []
    for fold in folds:
        folder = _read(fold, settings)
        task = task_class(settings.task).from_folder(folder, None, TaskSettings(target=settings.target))
        memory = MEMORY_BYTES // (1 + len(conditions or {}))
        heard = partial(FrozenStates, model, task.collator(extractor), memory, settings.features, projections)
        states, others = heard(), {name: heard(each) for name, each in (conditions or {}).items()}
        heads: list[Trained] = []
        for rate in settings.rates:
            heads.append(_train(states, folder, task, settings, rate, others))
            if keep is not None:
                keep([*results, heads])
            name = "" if len(folds) == 1 else f"{fold.name}: "
            shown = heads[-1]
            say(
                f"{name}learning rate {rate:g}: validation {settings.metric} {shown.validation:.4f} at step "
                f"{shown.step}, test {shown.test[settings.metric]:.4f}"
            )
        results.append(tuple(sorted(heads, key=lambda each: _order(settings, each.validation))))
    value = float(np.mean([heads[0].test[settings.metric] for heads in results]))
    return Probed(settings.metric, value, tuple(results))


def _folds(root: Path) -> list[Path]:
    """Return the root if it is a corpus in any layout, else its subfolders if each of them is a corpus.

    Raises:
        DataError: neither the root nor its subfolders are corpora.
    """
    if not root.is_dir() or read_listings(root, None):
        return [root]  # `check_folder` reports a missing folder
    folds = sorted(each for each in root.iterdir() if each.is_dir() and not each.name.startswith("."))
    for fold in folds:
        if not read_listings(fold, None):
            raise DataError(
                f"{root}: neither a corpus (train/ and validation/, or a known layout) nor a folder of "
                f"folds: {fold.name}/ has no splits."
            )
    return folds or [root]


def _order(settings: ProbeSettings, value: float) -> float:
    return value if settings.error else -value


def _read(path: Path, settings: ProbeSettings) -> SpeechFolder:
    task = task_class(settings.task)
    config = FolderConfig(
        target=settings.target, max_seconds=settings.max_seconds, closed_labels=not task.spec.open_targets
    )
    found = check_folder(path, config)
    return found if settings.lexicon is None else Lexicon.of(settings.lexicon).spoken(found)


def _head_of(task: Task, settings: ProbeSettings, first: torch.Tensor) -> SomeProbe:
    """Return a fresh head for the states (L+1, T, D) of a clip."""
    sizes = first.shape[0], first.shape[2], settings.width, _outputs_of(task)
    if settings.head == "recurrent":
        return RecurrentProbe(*sizes)
    if settings.head == "xvector":
        return XVectorProbe(*sizes)
    return Probe(*sizes, pooled=not isinstance(task, Recognition))


def _optimizer_of(head: nn.Module, settings: ProbeSettings, rate: float) -> torch.optim.Optimizer:
    if settings.weight_decay is None:
        return torch.optim.Adam(head.parameters(), lr=rate)
    return torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=settings.weight_decay)


def _train(
    states: FrozenStates,
    folder: SpeechFolder,
    task: Task,
    settings: ProbeSettings,
    rate: float,
    others: Mapping[str, FrozenStates],
) -> Trained:
    train, validation = folder.splits["train"], folder.splits["validation"]
    torch.manual_seed(settings.seed)
    head = _head_of(task, settings, states.of_clip(train[0])).to(states.device)
    optimizer = _optimizer_of(head, settings, rate)
    loss_of = _loss_of(task, head)
    every = max(settings.steps // EVALUATIONS, 1)
    best: tuple[float, int, dict[str, torch.Tensor]] | None = None
    batches = _batches(train, settings)
    for step in range(1, settings.steps + 1):
        clips = [train[index] for index in next(batches)]
        given, frames = states.batch(clips)
        loss = loss_of(head(given, frames), frames, [task.encode(clip.target) for clip in clips])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(head.parameters(), settings.max_grad_norm)
        optimizer.step()
        if step % every == 0 or step == settings.steps:
            found = _judge(head, states, task, validation)[settings.metric]
            if best is None or _order(settings, found) < _order(settings, best[0]):
                kept = {name: tensor.clone() for name, tensor in head.state_dict().items()}
                best = (found, step, kept)
    assert best is not None
    head.load_state_dict(best[2])
    judged = folder.splits.get("test") or validation
    test = _judge(head, states, task, judged)
    under = {name: _judge(head, other, task, judged) for name, other in others.items()}
    weights = tuple(float(each) for each in head.sum.weights.detach().softmax(0))
    return Trained(rate, best[0], best[1], test, weights, under)


def _outputs_of(task: Task) -> int:
    """Return the number of outputs that a probe of the task needs."""
    if isinstance(task, Recognition):
        return len(task.tokenizer)
    if isinstance(task, (Classification, Slots)):
        return len(task.labels)
    if isinstance(task, Verification):
        return len(task.speakers)
    raise DataError(f"probe: task {task.spec.name!r} has no probe: choose one of labels, slots or phonemes")


def _batches(clips: Sequence[Clip], settings: ProbeSettings) -> Iterator[list[int]]:
    """Yield endless batches of indices: epochs in random order, or draws with equally frequent labels."""
    generator = torch.Generator().manual_seed(settings.seed)
    if settings.balanced:
        labels = [clip.target for clip in clips]
        weights = torch.tensor([1.0 / labels.count(label) for label in labels], dtype=torch.float64)
        while True:
            drawn = torch.multinomial(weights, settings.batch_size, replacement=True, generator=generator)
            yield drawn.tolist()
    size = min(settings.batch_size, len(clips))
    while True:
        order = torch.randperm(len(clips), generator=generator).tolist()
        for start in range(0, len(order) - size + 1, size):
            yield order[start : start + size]


def _loss_of(task: Task, head: SomeProbe) -> Loss:
    """Return the loss of outputs and valid frames against encoded targets."""
    if isinstance(head, XVectorProbe):
        return lambda embeddings, _frames, targets: head.loss(embeddings, _beside(embeddings, targets))
    if isinstance(task, Recognition):
        blank = task.tokenizer.pad_token_id

        def aligned(logits: torch.Tensor, frames: torch.Tensor, targets: Sequence[Label]) -> torch.Tensor:
            sequences = [target for target in targets if isinstance(target, list)]
            lengths = _beside(logits, [len(sequence) for sequence in sequences])
            rows = _beside(logits, [index for sequence in sequences for index in sequence])
            scores = logits.log_softmax(-1).transpose(0, 1)
            return ctc_loss(scores, rows, frames, lengths, blank=blank, zero_infinity=True)

        return aligned
    own = task.loss_function() or _cross_entropy
    return lambda logits, _frames, targets: own({"logits": logits}, _beside(logits, targets))


def _beside(outputs: torch.Tensor, targets: Sequence[Label]) -> torch.Tensor:
    """Return targets as a tensor on the device of the outputs."""
    return torch.tensor(targets, device=outputs.device)


def _cross_entropy(outputs: dict[str, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(outputs["logits"], targets)


def _judge(head: SomeProbe, states: FrozenStates, task: Task, clips: Sequence[Clip]) -> dict[str, float]:
    """Return the metrics of the head on clips, computed one clip at a time, without padding."""
    rows = []
    head.eval()
    with torch.no_grad():
        for clip in clips:
            rows.append(task.slim(head(*states.batch([clip]))[0].cpu().numpy()[None], None)[0])
    head.train()
    longest = max(len(row) for row in rows)
    predictions = np.stack([np.pad(row, (0, longest - len(row))) for row in rows])
    if not predictions.size:
        raise DataError("probe: no clips to judge: put some into validation")
    labels: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
    if not task.spec.open_targets and task.loss_function() is None:
        labels = np.array([task.encode_judged(clip.target) for clip in clips])
    judge = task.judge(clips, backbone_model(states))
    if judge is None:
        raise DataError(f"probe: the task {task.spec.name!r} has no metric: choose a task with labels.")
    return judge(EvalPrediction(predictions, labels))


def backbone_model(states: FrozenStates) -> PreTrainedModel:
    """Return the frozen encoder as a model of transformers, whose frames `Task.judge` counts."""
    _, encoder = backbone_of(states.encoder)
    assert isinstance(encoder, PreTrainedModel)
    return encoder
