"""Owns the Distiller: a frozen teacher, taps on both models, and the sum of the weighted losses."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from prune_ssl.distillation.answers import MASKED, CachedTeacher
from prune_ssl.distillation.cache import open_cache
from prune_ssl.distillation.config import LOSSES, DistillationConfig
from prune_ssl.distillation.loss import STUDENT, TEACHER, Batch, Loss, Models
from prune_ssl.distillation.losses import Relation, hidden_pairs
from prune_ssl.distillation.projections import Projections
from prune_ssl.distillation.spans import draw_spans
from prune_ssl.distillation.taps import Tapped, Taps, check_supported
from prune_ssl.errors import DistillationError, PruneError
from prune_ssl.models import family_of
from prune_ssl.models.arguments import shown

TEACHER_AUDIO, TEACHER_NORMALIZED = "teacher_input_values", "teacher_normalized_values"
LENGTHS = "input_lengths"


class Distiller:
    """Compares a student with a frozen teacher on the same batch.

    Attributes:
        learned: projections and heads beside the student; give their parameters to the optimiser.
        projections: the part of `learned` that maps student states to the teacher's width.
        losses: the losses of the config by name, as they compare these two models.
        layers: (student, teacher) layers whose hidden states are compared.
        relation_layers: (student, teacher) layers whose relations are compared.
        parts: the losses of the last batch by name, unweighted, detached.
        half: the dtype in which the student trains under autocast, and so the teacher too; None: as it is
            called.
        cached_teacher: the teacher with its taps, and the cache of its answers, where there is one.
    """

    def __init__(self, config: DistillationConfig, teacher: nn.Module, student: nn.Module) -> None:
        """Freeze `teacher` (in place: eval mode, no gradients) and put taps on both models.

        Raises:
            DistillationError: a layer that a model does not have, or widths that no projection joins.
            ModelError: one of them is no known speech SSL model.
        """
        for model in (teacher, student):
            check_supported(model)
        self.config = config
        self.input = family_of(student).input
        of_teacher = family_of(teacher).input
        if of_teacher != self.input:
            raise DistillationError(
                f"the student reads {self.input.name} of a {self.input.extractor}, the teacher "
                f"{of_teacher.name} of a {of_teacher.extractor}; wanted two models that one batch fits."
            )
        self.teacher = teacher.eval().requires_grad_(False)
        models = Models(student, teacher)
        self.losses = {name: _made(name, config, models) for name in config.losses}
        every = self.losses.values()
        self.layers = hidden_pairs(config, models.depths) if any(each.projected for each in every) else ()
        self.relation_layers = next((each.pairs for each in every if isinstance(each, Relation)), ())
        self.projections = Projections(config.projection, self.layers, *models.widths)
        self.learned = nn.ModuleDict({"projections": self.projections})
        for name, loss in self.losses.items():
            if (module := loss.make_module()) is not None:
                self.learned[name] = module
        self.parts: dict[str, torch.Tensor] = {}
        self.half: torch.dtype | None = None
        in_order = [self.losses[name] for name in LOSSES if name in self.losses]  # the cache's keys hold it
        fields = dict.fromkeys(each.field for each in in_order if each.field is not None)
        place = config.teacher_cache
        cache = None if place is None else open_cache(place, config.teacher_cache_gb)
        self.cached_teacher = CachedTeacher(self.teacher, self._taps(teacher, TEACHER), list(fields), cache)
        self._student_taps = self._taps(student, STUDENT)
        self._student_states: Tapped | None = None

    def _taps(self, model: nn.Module, side: int) -> Taps:
        states = {layer for loss in self.losses.values() for layer in loss.states(side)}
        return Taps(model, states, {layer for loss in self.losses.values() for layer in loss.maps(side)})

    def check_prunable(self, kinds: Collection[str]) -> None:
        """Refuse to prune kinds of units whose number the losses rely on.

        Raises:
            DistillationError: `hidden` with losses on states, or `conv` with a head on the frontend.
        """
        relied_on = {kind for loss in self.losses.values() for kind in loss.relies_on}
        for kind, instead in (("hidden", "distil logits only"), ("conv", "use enhancement_input='last'")):
            if kind in relied_on and kind in kinds:
                raise DistillationError(
                    f"units of kind {kind!r} are to be pruned, and losses ({', '.join(self.config.losses)}) "
                    f"read states of that width; {instead}, or leave the kind out of PruningConfig.kinds."
                )

    def attach(self, student: nn.Module) -> None:
        """Tap another student of the same depth instead: the resized one.

        Projections and heads stay as they were trained.
        """
        self.detach()
        self._student_taps = self._taps(student, STUDENT)

    def detach(self) -> None:
        """Take the taps off the student."""
        self._student_taps.remove()

    def to(self, device: torch.device) -> "Distiller":
        """Move teacher and projections."""
        self.teacher.to(device)
        self.learned.to(device)
        return self

    # -- the loss

    def prepare(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the batch that the student and `loss` take in training: with frames to mask, if a loss does.

        Evaluation masks nothing.
        """
        if not any(loss.masks_input for loss in self.losses.values()):
            return dict(inputs)
        audio, lengths = self.audio_of(inputs), self._lengths(inputs)
        frames = self._student_taps.frames(audio.shape[-1])
        if lengths is None:
            counts = torch.full((len(audio),), frames)
        else:
            counts = self._student_taps.valid_frames(lengths, frames, "input").sum(1).cpu()
        mask = draw_spans(counts, frames, self.config.mask_probability, self.config.mask_length)
        return {**inputs, MASKED: mask.to(audio.device)}

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record what the student computes inside; `loss` uses it."""
        with self._student_taps.listening() as self._student_states:
            yield

    def loss(self, inputs: Mapping[str, torch.Tensor], outputs: object) -> torch.Tensor:
        """Return sum of weight * loss for the student's last forward pass inside `listening()`, a scalar.

        Args:
            inputs: the batch, by the names of the model's arguments: `input_values` (B, N); where it is
                padded `attention_mask` (B, N), or `input_lengths` (B,) in samples; `teacher_input_values`,
                of the same form, where the teacher hears other audio; `teacher_normalized_values`, where
                that audio has the gain of the student's and the teacher hears it with its own.
            outputs: what the student's forward returned.
        """
        batch = self._batch(inputs, outputs)
        total = torch.zeros((), device=batch.audio.device)
        self.parts = {}
        for name, weight in self.config.losses.items():
            part = self.losses[name].value(batch)
            self.parts[name] = part.detach()
            total = total + weight * part
        return total

    def audio_of(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return what the student hears in a batch, samples or features; its first axis counts the clips."""
        return inputs[self.input.name]

    def _lengths(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """Return the samples of each clip without padding (B,); None where the batch does not say."""
        mask = inputs.get(self.input.mask)
        return inputs.get(LENGTHS) if mask is None else mask.sum(-1)

    def _precision_of_teacher(self, device: torch.device) -> AbstractContextManager[object]:
        """Return a context in which the teacher computes in the precision of its config."""
        asked = self.config.teacher_dtype
        if asked == "float32":
            return torch.autocast(device.type, enabled=False)
        return nullcontext() if self.half is None else torch.autocast(device.type, dtype=self.half)

    def _batch(self, inputs: Mapping[str, torch.Tensor], outputs: object) -> Batch:
        """Run the teacher, and return both models' answers."""
        student, self._student_states = self._student_states, None
        if student is None:
            raise DistillationError(
                "the student was not heard: run its forward inside distiller.listening()."
            )
        _check_gradient(student)
        masked_frames = inputs.get(MASKED)
        clean, mask = inputs.get(TEACHER_AUDIO), inputs.get(self.input.mask)
        audio = inputs.get(TEACHER_NORMALIZED, self.audio_of(inputs) if clean is None else clean)
        lengths, teacher = self._lengths(inputs), self.cached_teacher
        # The padding of a spectrogram of fixed length is a part of it.
        alone = None if self.input.time_axis is None else lengths
        with self._precision_of_teacher(audio.device):
            answer = (
                teacher.answer(audio, mask)
                if teacher.cache is None
                else teacher.cached_answer(audio, mask, alone)
            )
            # Frames to mask are drawn anew each time, so this answer cannot be cached.
            masked = answer if masked_frames is None else teacher.answer(audio, mask, masked_frames)
        return Batch(
            student=student,
            teacher=answer.tapped,
            teacher_masked=masked.tapped,
            predictions=self.projections(student.states),
            student_outputs=outputs,
            teacher_outputs=answer.outputs,
            audio=self.audio_of(inputs),
            clean_audio=clean,
            normalized=TEACHER_NORMALIZED in inputs,
            masked_frames=masked_frames,
            lengths=lengths,
            count_valid=self._student_taps.valid_frames,
            same_stage=self._student_taps.same_stage,
        )


def _made(name: str, config: DistillationConfig, models: Models) -> Loss:
    advice = "register_loss takes a function of (config, models), such as on_hidden_states(function)."
    try:
        loss = LOSSES[name](config, models)
    except PruneError:
        raise
    except Exception as error:  # a user's factory may raise any kind
        raise DistillationError(
            f"losses.{name}: its factory raised {type(error).__name__}: {error}; {advice}"
        ) from error
    if not isinstance(loss, Loss):
        raise DistillationError(
            f"losses.{name}: its factory returned {shown(loss)}, wanted a prune_ssl.distillation.Loss; "
            f"{advice}"
        )
    return loss


def _check_gradient(student: Tapped) -> None:
    """Refuse hidden states without a gradient: reentrant checkpointing hides it from hooks."""
    states = [*student.states.values(), *student.queries.values()]
    if torch.is_grad_enabled() and states and not any(state.requires_grad for state in states):
        raise DistillationError(
            "the student's hidden states carry no gradient, so it would learn nothing from them. Use "
            "gradient_checkpointing_kwargs={'use_reentrant': False}, or unfreeze the encoder."
        )
