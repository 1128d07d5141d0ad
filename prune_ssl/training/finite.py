"""FiniteTrainer: stops at the first number that is not finite, and says which clips it heard then."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import get_last_checkpoint

from prune_ssl.errors import TrainingError
from prune_ssl.models.finite import all_finite, not_finite, shown_names

CLIPS = "clip_indices"
"""In items and batches of training, which clips they are; models never see it."""
LISTED = 8  # clips that a message names; the others are counted
SKIPPED = 25  # optimiser steps in a row that a gradient scaler may skip: from 65,536 its scale is then 0.002


class NamedBatches:
    """A collator that carries the numbers of the items, where they have some, past another one."""

    def __init__(self, collator: Callable[[list[Any]], Any]) -> None:
        self.collator = collator

    def __call__(self, items: Sequence[Any]) -> Any:
        """Collate; the batch gets `clip_indices` (B,)."""
        if not all(isinstance(item, Mapping) and CLIPS in item for item in items):
            return self.collator(list(items))
        batch = self.collator([{k: v for k, v in item.items() if k != CLIPS} for item in items])
        if isinstance(batch, Mapping):
            cast(Any, batch)[CLIPS] = torch.tensor([item[CLIPS] for item in items])
        return batch


class _AfterOptimizer(TrainerCallback):
    """Looks at the weights between an optimiser step and all that follows it."""

    def __init__(self, trainer: "FiniteTrainer") -> None:
        self.trainer = trainer

    def on_optimizer_step(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Refuse to go on from weights that are not finite."""
        self.trainer.require_finite_weights()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Forget the clips of the step."""
        self.trainer.forget_clips()


class FiniteTrainer(Trainer):
    """A `transformers.Trainer` whose training ends with an error at the first number that is not finite.

    Transformers goes on: its log shows such a loss as 0, and its checkpoints hold what became of the weights.
    Here the loss of every batch, the norm of every gradient, all that is learned after every step, and the
    last model's answers are looked at before a state is written or handed on. Under fp16 the gradient scaler
    may skip steps whose gradients overflow, as it is made to.

    Attributes:
        title: what messages call this training.
    """

    title = "training"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Of each micro-batch: which clips, and which of its rows hold odd samples.
        self._clips_of_step: list[tuple[list[int] | None, list[int]]] = []
        self._skipped = 0
        self._last_inputs: dict[str, Any] | None = None
        self.add_callback(_AfterOptimizer(self))

    # -- a step

    def whole_loss(self, compute_loss: Callable[..., Any], model: nn.Module, inputs: Any, **more: Any) -> Any:
        """Return the loss that a training step goes backward from: `compute_loss`, and what a subclass adds.

        Args:
            compute_loss: that of the trainer, which a user's subclass may have replaced.
            model: as `compute_loss` takes it.
            inputs: the batch.
            **more: other arguments of `compute_loss`.
        """
        return compute_loss(model, inputs, **more)

    def training_step(self, model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Do a micro-batch as Trainer does, from `whole_loss`.

        Raises:
            TrainingError: the loss is not finite.
        """
        clips = inputs.pop(CLIPS, None) if isinstance(inputs, MutableMapping) else None
        self._last_inputs = dict(inputs) if isinstance(inputs, Mapping) else None
        own, replaced = self.compute_loss, vars(self).get("compute_loss")
        terms: dict[str, torch.Tensor] = {}

        def checked(model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            loss = self.whole_loss(own, model, inputs, *args, **kwargs)
            terms["loss"] = loss[0] if isinstance(loss, tuple) else loss
            if not bool(torch.isfinite(terms["loss"].detach()).all()):
                self._clips_of_step.append((_numbers(clips), _odd_rows(self._last_inputs)))
                self._stop_at_loss(terms["loss"])
            return loss

        # Trainer asks for `self.compute_loss` in the middle of its step.
        vars(self)["compute_loss"] = checked
        try:
            loss = super().training_step(model, inputs, *args, **kwargs)
        except ValueError as error:
            if "`mask_length`" not in str(error):
                raise
            self._clips_of_step.append((_numbers(clips), []))
            self._stop_at_masks(error)
        finally:
            if replaced is None:
                del vars(self)["compute_loss"]
            else:
                vars(self)["compute_loss"] = replaced
        self._clips_of_step.append((_numbers(clips), []))
        return loss

    def _stop_at_masks(self, error: ValueError) -> NoReturn:
        """End training where transformers finds a batch too short for the model's SpecAugment."""
        config: Any = getattr(self.model, "config", None)
        raise TrainingError(
            f"{self.title}, step {self.state.global_step + 1}: the model's SpecAugment masks "
            f"{config.mask_time_length} frames or {config.mask_feature_length} features at once, more than "
            f"this batch has. {self._clips_said()} Set a smaller model.config.mask_time_length "
            "(mask_feature_length), or model.config.apply_spec_augment=False, or leave these clips out."
        ) from error

    def forget_clips(self) -> None:
        """Begin a new step."""
        self._clips_of_step.clear()

    def _stop_at_loss(self, loss: torch.Tensor) -> NoReturn:
        if names := list(not_finite(self._learned())):
            self._stop(
                f"{shown_names(names)} was not finite before the step, though it was after the last one: "
                "something else than the optimiser (a callback?) has changed it",
                named=False,
            )
        self._stop(f"the loss is {float(loss.detach().mean())}")

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        finite = whole is None or math.isfinite(float(whole))
        self._skipped = 0 if finite else self._skipped + 1
        scaler = getattr(self.accelerator, "scaler", None)
        if not finite and (scaler is None or self._skipped > SKIPPED):
            skipped = "" if scaler is None else f", in {self._skipped} steps that the fp16 scaler skipped"
            self._stop(f"the norm of the gradient is {float(whole)}{skipped}")
        return norm

    # -- what was learned

    def own_parameter_groups(self) -> list[dict[str, Any]]:
        """Return optimiser groups of what is learned beside the model: every process holds all of it."""
        return []

    def learned_beside(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield what is learned beside the model, by name."""
        yield from ()

    def _learned(self) -> dict[str, torch.Tensor]:
        """Return all that an optimiser changes, by name."""
        model = cast(nn.Module, self.model)
        return {name: value for name, value in model.named_parameters() if value.requires_grad} | dict(
            self.learned_beside()
        )

    def require_finite_weights(self) -> None:
        """Stop where something that is learned is not finite any more.

        Raises:
            TrainingError: so it is.
        """
        learned = self._learned()
        if not all_finite(learned.values()):
            self._stop(f"{shown_names(not_finite(learned))} is not finite after the optimiser's step")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.require_finite_state("before a checkpoint was written")
        super()._save_checkpoint(model, trial)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as Trainer does.

        Raises:
            TrainingError: a number is not finite: at any step, or in what the trained model answers.
        """
        outcome = super().train(*args, **kwargs)
        self.require_finite_state("at the end")
        self.require_finite_answers()
        return outcome

    def require_finite_state(self, when: str) -> None:
        """Look at the whole model: a callback may have changed what no optimiser does.

        Raises:
            TrainingError: a number of it is not finite.
        """
        model = cast(nn.Module, self.model)
        state = {
            **dict(model.named_parameters()),
            **dict(model.named_buffers()),
            **dict(self.learned_beside()),
        }
        if not all_finite(state.values()):
            self._stop(f"{shown_names(not_finite(state))} is not finite {when}", named=False)

    def require_finite_answers(self) -> None:
        """Let the trained model hear its last batch: weights of 1e30 are finite, what they give is not.

        Raises:
            TrainingError: what it gives is not.
        """
        inputs, model = self._last_inputs, self.model
        self._last_inputs = None
        if inputs is None or not isinstance(model, PreTrainedModel) or model.main_input_name not in inputs:
            return
        known = inspect.signature(model.forward).parameters.keys() - set(self.label_names)
        training, inside = model.training, self.model_wrapped
        inside.eval()
        # Some encoders draw a number for LayerDrop even then.
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            batch = self._prepare_inputs({name: value for name, value in inputs.items() if name in known})
            outputs = inside(**batch)
        inside.train(training)
        found = {name: value for name, value in outputs.items() if isinstance(value, torch.Tensor)}
        if not all_finite(found.values()):
            self._stop(f"the trained model's {shown_names(not_finite(found))} is not finite", named=False)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        learned = cast(nn.Module, model or self.model).state_dict()
        if not all_finite(learned.values()):
            raise TrainingError(
                f"{resume_from_checkpoint}: not finite (NaN or infinite): "
                f"{shown_names(not_finite(learned))}. It cannot be resumed from: delete this checkpoint, so "
                "that an earlier one is taken."
            )

    # -- messages

    def _stop(self, what: str, named: bool = True) -> NoReturn:
        """End training.

        Raises:
            TrainingError: always.
        """
        step = self.state.global_step + 1
        clips = f" {self._clips_said()}" if named and self._clips_of_step else ""
        self._clips_of_step.clear()
        folder = Path(self.args.output_dir or ".")
        last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
        kept = f"the last good state is {last}" if last else "no checkpoint was written before it"
        rate = self._rate()
        raise TrainingError(
            f"{self.title}, step {step} of {self.state.max_steps}: {what}.{clips} Training stopped, nothing "
            f"of this step was kept; {kept}. Lower the learning rate{rate} and start anew; or, where a clip "
            "or the loss is to blame, mend that and resume."
        )

    def _rate(self) -> str:
        optimizer = self.optimizer
        groups = [] if optimizer is None else optimizer.param_groups
        return f" ({groups[0].get('initial_lr', groups[0]['lr']):g})" if groups else ""

    def _clips_said(self) -> str:
        """Name the clips of the step; those with odd samples first."""
        odd = [numbers[row] for numbers, rows in self._clips_of_step if numbers is not None for row in rows]
        numbers = [each for some, _ in self._clips_of_step for each in some or ()]
        rows = [row for some, rows in self._clips_of_step if some is None for row in rows]
        names = clip_names(self.train_dataset)
        said = []
        if odd:
            said.append(f"Not finite are the samples of {_listed(map(names, odd))}.")
        if rows:
            said.append(f"Not finite are the samples of rows {_listed(map(str, rows))} of the batch.")
        if numbers:
            said.append(f"The clips of this step: {_listed(map(names, numbers))}.")
        return " ".join(said) or "Which clips these are, this dataset does not say."

    def _get_collator_with_removed_columns(self, data_collator: Any, description: str | None = None) -> Any:
        return NamedBatches(super()._get_collator_with_removed_columns(data_collator, description))


def clip_names(dataset: Any) -> Callable[[int], str]:
    """Return what names the item of an index: by its file, where the dataset (or what it wraps) has clips."""
    while not hasattr(dataset, "clips"):
        inner = [getattr(dataset, name, None) for name in ("items", "clean", "dataset")]
        inside = next((each for each in inner if each is not None and not callable(each)), None)
        if inside is None or isinstance(inside, list | tuple):
            return lambda index: f"item {index} of the training data"
        dataset = inside
    return lambda index: str(dataset.clips[index].path)


def require_finite_batch(batch: Mapping[str, Any], dataset: Any, what: str) -> None:
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


def _numbers(clips: Any) -> list[int] | None:
    return clips.tolist() if isinstance(clips, torch.Tensor) else None


def _odd_rows(inputs: Mapping[str, Any] | None) -> list[int]:
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


def require_finite_resumed(weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse to go on from weights that were put aside and are not finite.

    Raises:
        TrainingError: the message names the tensors.
    """
    if not all_finite(weights.values()):
        raise TrainingError(
            f"{path}: not finite (NaN or infinite): {shown_names(not_finite(weights))}. It cannot be resumed "
            "from: delete it, or start anew."
        )
