"""FiniteTrainer: stops at the first number that is not finite, and names the clips of that step."""

import inspect
import math
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, NoReturn, cast

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from prune_ssl.errors import TrainingError
from prune_ssl.models.finite import all_finite, not_finite, shown_names
from prune_ssl.training.parts_trainer import PartsTrainer
from prune_ssl.training.step_clips import CLIPS, NamedBatches, StepClips

SKIPPED = 25  # optimiser steps in a row that a gradient scaler may skip: from 65,536 its scale is then 0.002


class _AfterOptimizer(TrainerCallback):
    """Looks at the weights between an optimiser step and all that follows it."""

    def __init__(self, trainer: "FiniteTrainer") -> None:
        self.trainer = trainer

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Refuse to go on from weights that are not finite."""
        self.trainer.require_finite_weights()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Forget the clips of the step."""
        self.trainer.step_clips.clear()


def kept_randomness(device: torch.device) -> AbstractContextManager[None]:
    """Return a context after which torch's random streams of the CPU and of a device are as before."""
    # Without a list of devices torch would go through all GPUs, and warn if there are several.
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


class FiniteTrainer(PartsTrainer):
    """A PartsTrainer whose training ends with an error at the first number that is not finite.

    Trainer goes on: its log shows such a loss as 0, and its checkpoints hold the spoilt weights. This class
    checks the loss of every batch, the norm of every gradient, every learned parameter after every step, and
    the outputs of the trained model. Under fp16 the gradient scaler may skip steps whose gradients overflow;
    that is its job.

    Attributes:
        title: what messages call this training.
    """

    title = "training"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.step_clips = StepClips()
        self._skipped = 0
        self._last_inputs: dict[str, object] | None = None
        self.add_callback(_AfterOptimizer(self))

    # -- a step

    def training_step(self, model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Do a micro-batch as Trainer does, from `whole_loss`.

        Raises:
            TrainingError: the loss is not finite.
        """
        clips = inputs.pop(CLIPS, None) if isinstance(inputs, MutableMapping) else None
        self._last_inputs = dict(inputs) if isinstance(inputs, Mapping) else None
        own, replaced = self.compute_loss, vars(self).get("compute_loss")

        def checked(model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            outcome = self.whole_loss(own, model, inputs, *args, **kwargs)
            loss = outcome[0] if isinstance(outcome, tuple) else outcome
            if not bool(torch.isfinite(loss.detach()).all()):
                self.step_clips.add(clips, self._last_inputs)
                self._stop_at_loss(loss)
            return outcome

        # Trainer asks for `self.compute_loss` in the middle of its step.
        vars(self)["compute_loss"] = checked
        try:
            loss = super().training_step(model, inputs, *args, **kwargs)
        except ValueError as error:
            if "`mask_length`" not in str(error):
                raise
            self.step_clips.add(clips)
            raise _masks_too_long(self, error) from error
        finally:
            if replaced is None:
                del vars(self)["compute_loss"]
            else:
                vars(self)["compute_loss"] = replaced
        self.step_clips.add(clips)
        return loss

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

    def _learned(self) -> dict[str, torch.Tensor]:
        """Return all that an optimiser changes, by name."""
        model = cast(nn.Module, self.model)
        return {name: value for name, value in model.named_parameters() if value.requires_grad} | dict(
            self.learned_beside()
        )

    def require_finite_weights(self) -> None:
        """Stop if a learned parameter is not finite.

        Raises:
            TrainingError: a parameter is not finite.
        """
        learned = self._learned()
        if not all_finite(learned.values()):
            self._stop(f"{shown_names(not_finite(learned))} is not finite after the optimiser's step")

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
        """Check the whole model: a callback may have changed values that no optimiser changes.

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
        """Run the trained model on its last batch: weights of 1e30 are finite, but its outputs are not.

        Raises:
            TrainingError: an output is not finite.
        """
        inputs, model = self._last_inputs, self.model
        self._last_inputs = None
        if inputs is None or not isinstance(model, PreTrainedModel) or model.main_input_name not in inputs:
            return
        known = inspect.signature(model.forward).parameters.keys() - set(self.label_names)
        # A compiled model would be compiled anew for this one pass.
        bare = self.args.torch_compile and self.args.world_size == 1
        training, inside = model.training, model if bare else self.model_wrapped
        inside.eval()
        # Some encoders draw a number for LayerDrop even then.
        with ExitStack() as stack, torch.no_grad(), kept_randomness(self.args.device):
            for part in self.parts:
                stack.enter_context(part.at_rest())
            batch = self._prepare_inputs({name: value for name, value in inputs.items() if name in known})
            outputs = inside(**batch)
        inside.train(training)
        found = {name: value for name, value in outputs.items() if isinstance(value, torch.Tensor)}
        if not all_finite(found.values()):
            self._stop(f"the trained model's {shown_names(not_finite(found))} is not finite", named=False)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
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
        clips = f" {self.step_clips.sentence(self.train_dataset)}" if named and self.step_clips else ""
        self.step_clips.clear()
        folder = Path(self.args.output_dir or ".")
        last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
        kept = f"the last good state is {last}" if last else "no checkpoint was written before it"
        groups = [] if self.optimizer is None else self.optimizer.param_groups
        rate = f" ({groups[0].get('initial_lr', groups[0]['lr']):g})" if groups else ""
        raise TrainingError(
            f"{self.title}, step {step} of {self.state.max_steps}: {what}.{clips} Training stopped, nothing "
            f"of this step was kept; {kept}. Lower the learning rate{rate} and start anew; or, where a clip "
            "or the loss is to blame, mend that and resume."
        )

    def _get_collator_with_removed_columns(self, data_collator: Any, description: str | None = None) -> Any:
        return NamedBatches(super()._get_collator_with_removed_columns(data_collator, description))


def _masks_too_long(trainer: FiniteTrainer, error: ValueError) -> TrainingError:
    """Return the error of a batch that transformers finds too short for the model's SpecAugment."""
    config: Any = getattr(trainer.model, "config", None)
    return TrainingError(
        f"{trainer.title}, step {trainer.state.global_step + 1}: the model's SpecAugment masks "
        f"{config.mask_time_length} frames or {config.mask_feature_length} features at once, more than "
        f"this batch has. {trainer.step_clips.sentence(trainer.train_dataset)} Set a smaller "
        "model.config.mask_time_length (mask_feature_length), or model.config.apply_spec_augment=False, or "
        "leave these clips out."
    )


def require_finite_resumed(weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse to resume from weights that are not finite.

    Raises:
        TrainingError: the message names the tensors.
    """
    if not all_finite(weights.values()):
        raise TrainingError(
            f"{path}: not finite (NaN or infinite): {shown_names(not_finite(weights))}. It cannot be resumed "
            "from: delete it, or start anew."
        )
