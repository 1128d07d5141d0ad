"""Owns the Distiller: a frozen teacher, taps on both models, and the sum of the weighted losses."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from prune_ssl.distillation.answers import MASKED, Answer, Teacher, output_of
from prune_ssl.distillation.cache import open_cache
from prune_ssl.distillation.config import ENHANCEMENT, MASKING, RELATIONS, DistillationConfig
from prune_ssl.distillation.enhancement import ENHANCEMENT_LOSSES, EnhancementHead, spectrogram
from prune_ssl.distillation.hidden import HIDDEN_LOSSES, masking_mse
from prune_ssl.distillation.predictions import embedding_cosine, frame_logits_kl, logits_kl
from prune_ssl.distillation.projections import Projections
from prune_ssl.distillation.relations import average_attention, intra_gram, layer_gram
from prune_ssl.distillation.spans import draw_spans
from prune_ssl.distillation.taps import FRONTEND, Stage, Tapped, Taps, check_supported, depth_of, stage_of
from prune_ssl.errors import DistillationError
from prune_ssl.models import backbone_of, family_of
from prune_ssl.models.inputs import Input

Pairs = tuple[tuple[int, int], ...]
TEACHER_AUDIO = "teacher_input_values"
LENGTHS = "input_lengths"
FIELDS = {"logits": "logits", "embedding": "embeddings"}
"""Loss on predictions -> the field of a model's outputs that it reads."""


class Distiller:
    """Compares a student with a frozen teacher on the same batch.

    Attributes:
        learned: projections and heads beside the student; give their parameters to the optimiser.
        projections: the part of them that joins widths.
        layers: (student, teacher) layers whose hidden states are compared.
        relation_layers: the same for relations.
        parts: the losses of the last batch by name, unweighted, detached.
        asked: the teacher with its taps, and the cache of its answers, where there is one.
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
        self._check_input(family_of(teacher).input)
        self.teacher = teacher.eval().requires_grad_(False)
        depths = depth_of(student), depth_of(teacher)
        self.layers = self._hidden_pairs(depths)
        self.relation_layers = self._relation_pairs(depths)
        widths = [_width(model) for model in (student, teacher)]
        self.projections = Projections(config.projection, self.layers, *widths)
        self.learned = nn.ModuleDict({"projections": self.projections})
        self._heard_for_enhancement = FRONTEND if config.enhancement_input == "frontend" else depths[0]
        if self._uses(ENHANCEMENT):
            size = _frontend_width(student) if config.enhancement_input == "frontend" else widths[0]
            self.learned[ENHANCEMENT] = EnhancementHead(size, config.enhancement_units)
        self.parts: dict[str, torch.Tensor] = {}
        fields = [each for name, each in FIELDS.items() if self._uses(name)]
        place = config.teacher_cache
        cache = None if place is None else open_cache(place, config.teacher_cache_gb)
        self.asked = Teacher(self.teacher, self._taps(teacher, 1), fields, cache)
        self._student_taps = self._taps(student, 0)
        self._heard: Tapped | None = None
        if self._uses(MASKING):
            for model in (teacher, student):
                _check_can_mask(model)

    # -- set-up

    def _uses(self, *names: str) -> bool:
        return any(name in self.config.losses for name in names)

    def _hidden_pairs(self, depths: tuple[int, int]) -> Pairs:
        if not self._uses(*HIDDEN_LOSSES, MASKING):
            return ()
        heads = self.config.projection == "heads"
        if self.config.layers is not None:
            pairs = self.config.layers
            return tuple((depths[0], each[1]) for each in pairs) if heads else pairs  # type: ignore
        thirds = [tuple(round(third * depth / 3) for depth in depths) for third in range(4)]
        if heads:
            thirds = [(depths[0], layer) for _, layer in thirds[1:]]
        return tuple(dict.fromkeys(thirds))  # type: ignore[arg-type]

    def _relation_pairs(self, depths: tuple[int, int]) -> Pairs:
        if not self._uses(*RELATIONS):
            return ()
        if self.config.relation_layers is not None:
            return self.config.relation_layers  # type: ignore[return-value]
        return tuple((layer, round(layer * depths[1] / depths[0])) for layer in range(depths[0] + 1))

    def _taps(self, model: nn.Module, side: int) -> Taps:
        states = {pair[side] for pair in self.layers}
        if self._uses("layer_gram", "intra_gram"):
            states |= {pair[side] for pair in self.relation_layers}
        if self._uses("intra_gram"):
            states |= {pair[side] - 1 for pair in self.relation_layers if min(pair) > 0}
        if side == 0 and self._uses(ENHANCEMENT):
            states.add(self._heard_for_enhancement)
        maps = {pair[side] for pair in self.relation_layers if min(pair) > 0}
        return Taps(model, states, maps if self._uses("attention") else ())

    def check_prunable(self, kinds: Collection[str]) -> None:
        """Refuse to prune kinds of units whose number the losses rely on.

        Raises:
            DistillationError: `hidden` with losses on states, or `conv` with a head on the frontend.
        """
        states = bool(self.layers or self.relation_layers or self._uses(ENHANCEMENT))
        frontend = self._uses(ENHANCEMENT) and self.config.enhancement_input == "frontend"
        for kind, relied_on, instead in (
            ("hidden", states, "distil logits only"),
            ("conv", frontend, "use enhancement_input='last'"),
        ):
            if relied_on and kind in kinds:
                raise DistillationError(
                    f"units of kind {kind!r} are to be pruned, and losses ({', '.join(self.config.losses)}) "
                    f"read states of that width; {instead}, or leave the kind out of PruningConfig.kinds."
                )

    def attach(self, student: nn.Module) -> None:
        """Tap another student of the same depth instead: the resized one.

        Projections and heads stay as they were trained.
        """
        self.detach()
        self._student_taps = self._taps(student, 0)

    def detach(self) -> None:
        """Take the taps off the student."""
        self._student_taps.remove()

    def to(self, device: torch.device) -> "Distiller":
        """Move teacher and projections."""
        self.teacher.to(device)
        self.learned.to(device)
        return self

    # -- the loss

    def prepare(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the student and `loss` are to be given for training: the batch, with frames to mask.

        Evaluation masks nothing.
        """
        if not self._uses(MASKING):
            return dict(inputs)
        audio = self.audio_of(inputs)
        lengths = self._lengths(inputs)
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
        with self._student_taps.listening() as self._heard:
            yield

    def loss(self, inputs: Mapping[str, Any], outputs: Any) -> torch.Tensor:
        """Return sum of weight * loss for the student's last forward pass inside `listening()`, a scalar.

        Args:
            inputs: the batch, by the names of the model's arguments: `input_values` (B, N); where it is
                padded `attention_mask` (B, N), or `input_lengths` (B,) in samples; `teacher_input_values`,
                of the same form, where the teacher hears other audio.
            outputs: what the student's forward returned.
        """
        heard, self._heard = self._heard, None
        if heard is None:
            raise DistillationError(
                "the student was not heard: run its forward inside distiller.listening()."
            )
        _check_gradient(heard)
        hidden_frames = inputs.get(MASKED)
        own = self.audio_of(inputs)
        audio, mask = inputs.get(TEACHER_AUDIO, own), inputs.get(self.input.mask)
        lengths, asked = self._lengths(inputs), self.asked
        if asked.cache is None:
            told = asked.answer(audio, mask)
        else:  # of a spectrogram of fixed length the padding is a part
            told = asked.cached_answer(audio, mask, None if self.input.time_axis is None else lengths)
        # Frames to mask are drawn anew each time: this answer cannot be kept.
        masked = told if hidden_frames is None else asked.answer(audio, mask, hidden_frames)
        batch = _Batch(
            heard,
            told.tapped,
            masked.tapped,
            hidden_frames,
            (own, inputs.get(TEACHER_AUDIO)),
            outputs,
            told,
            self.projections(heard.states),
            lengths,
        )
        total = torch.zeros((), device=own.device)
        self.parts = {}
        for name, weight in self.config.losses.items():
            part = self._part(name, batch)
            self.parts[name] = part.detach()
            total = total + weight * part
        return total

    def audio_of(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Return what the student hears in a batch: samples or features, B of them."""
        audio: torch.Tensor = inputs[self.input.name]
        return audio

    def _check_input(self, of_teacher: Input) -> None:
        """Refuse a teacher that a batch for the student does not fit, and losses on samples without any."""
        if of_teacher != self.input:
            raise DistillationError(
                f"the student reads {self.input.name} ({self.input.extractor}), the teacher "
                f"{of_teacher.name} ({of_teacher.extractor}) of another form; wanted two that one batch fits."
            )
        if self._uses(ENHANCEMENT) and self.input.time_axis is None:
            raise DistillationError("enhancement: it compares samples, and this student reads spectrograms.")

    def _lengths(self, inputs: Mapping[str, Any]) -> torch.Tensor | None:
        mask = inputs.get(self.input.mask)
        return inputs.get(LENGTHS) if mask is None else mask.sum(-1)

    def _part(self, name: str, batch: "_Batch") -> torch.Tensor:
        if name in HIDDEN_LOSSES:
            return self._hidden(name, batch)
        if name == MASKING:
            return self._masking(batch)
        if name == ENHANCEMENT:
            return self._enhancement(batch)
        if name in RELATIONS:
            return self._relation(name, batch)
        field = FIELDS[name]
        student, teacher = output_of(batch.outputs, field), batch.answer.outputs[field]
        _check_shapes(name, student, teacher)
        if name == "embedding":
            return embedding_cosine(student, teacher)
        if student.dim() == 3:
            valid = self._valid(batch, student.shape[1], "output")
            return frame_logits_kl(student, teacher, valid, self.config.temperature)
        groups = self.config.logit_groups
        if groups is not None and sum(groups) > student.shape[-1]:
            raise DistillationError(
                f"logit_groups: {sum(groups)} logits in groups, but the models have {student.shape[-1]}."
            )
        return logits_kl(student, teacher, self.config.temperature, groups)

    def _hidden(self, name: str, batch: "_Batch") -> torch.Tensor:
        total = torch.zeros((), device=batch.predictions[0].device)
        for weight, prediction, (_, layer) in zip(
            self._layer_weights(), batch.predictions, self.layers, strict=True
        ):
            target = batch.told.states[layer]
            _check_shapes(name, prediction, target)
            valid = self._valid(batch, target.shape[1], stage_of(layer))
            total = total + weight * HIDDEN_LOSSES[name](prediction, target, valid)
        return total

    def _masking(self, batch: "_Batch") -> torch.Tensor:
        total = torch.zeros((), device=batch.predictions[0].device)
        for weight, prediction, (_, layer) in zip(
            self._layer_weights(), batch.predictions, self.layers, strict=True
        ):
            clean, masked = batch.told.states[layer], batch.told_masked.states[layer]
            _check_shapes(MASKING, prediction, clean)
            hidden = batch.hidden_frames
            hidden = clean.new_zeros(clean.shape[:2], dtype=torch.bool) if hidden is None else hidden
            valid = self._valid(batch, clean.shape[1], stage_of(layer))
            total = total + weight * masking_mse(prediction, clean, masked, hidden, valid)
        return total

    def _enhancement(self, batch: "_Batch") -> torch.Tensor:
        noisy, clean = batch.audio
        if clean is None:
            raise DistillationError(
                "enhancement: the batch has no teacher_input_values, the clean audio; wrap the dataset in a "
                "CorruptedDataset."
            )
        noisy, clean = noisy.flatten(1), clean.flatten(1)  # some models want an axis of channels
        lengths = batch.lengths
        if lengths is None:
            lengths = torch.full((len(noisy),), noisy.shape[1], device=noisy.device)
        states = batch.heard.states[self._heard_for_enhancement]
        mask = self.learned[ENHANCEMENT](states, spectrogram(noisy[:1]).shape[1])
        return ENHANCEMENT_LOSSES[self.config.enhancement](mask, noisy, clean, lengths)

    def _layer_weights(self) -> Sequence[float]:
        return self.config.layer_weights or [1 / len(self.layers)] * len(self.layers)

    def _relation(self, name: str, batch: "_Batch") -> torch.Tensor:
        """Return the mean over layer pairs of a relation loss, a scalar."""
        heard, told, scale = batch.heard, batch.told, self.config.gram_scale
        parts = []
        for own, other in self.relation_layers:
            if name == "layer_gram":
                states = heard.states[own], told.states[other]
                valid = self._valid(batch, states[0].shape[1], stage_of(own))
                _check_frames(name, *states)
                parts.append(layer_gram(*states, valid, scale))
            elif name == "intra_gram" and min(own, other) > 0:
                ends = heard.states[own - 1], heard.states[own], told.states[other - 1], told.states[other]
                _check_frames(name, *ends)
                parts.append(intra_gram(*ends, self._valid(batch, ends[0].shape[1], stage_of(own)), scale))
            elif name == "attention" and own in heard.queries and other in told.queries:
                maps = heard.queries[own], heard.keys[own], told.queries[other], told.keys[other]
                parts.append(average_attention(*maps, self._valid(batch, maps[0].shape[2], stage_of(own))))
        if not parts:
            raise DistillationError(
                f"{name}: no pair of layers has what it compares; found the pairs {self.relation_layers}."
            )
        return torch.stack(parts).mean()

    def _valid(self, batch: "_Batch", frames: int, stage: Stage) -> torch.Tensor | None:
        if batch.lengths is None:
            return None
        return self._student_taps.valid_frames(batch.lengths, frames, stage)


@dataclass(frozen=True)
class _Batch:
    heard: Tapped
    told: Tapped
    told_masked: Tapped
    hidden_frames: torch.Tensor | None
    audio: tuple[torch.Tensor, torch.Tensor | None]
    outputs: Any
    answer: Answer
    predictions: list[torch.Tensor]
    lengths: torch.Tensor | None


def _check_shapes(name: str, student: torch.Tensor, teacher: torch.Tensor) -> None:
    if student.shape != teacher.shape:
        raise DistillationError(
            f"{name}: the student gives {tuple(student.shape)}, the teacher {tuple(teacher.shape)}. Both "
            "need the same frame rate and the same labels."
        )


def _check_frames(name: str, *states: torch.Tensor) -> None:
    """Refuse states (B, T, any) of different T: of other strides, or before and after squeezing."""
    frames = [state.shape[1] for state in states]
    if len(set(frames)) > 1:
        raise DistillationError(
            f"{name}: the states to relate have {frames} frames. Both models need the same frame rate; "
            "for SEW set relation_layers from 2 on."
        )


def _check_can_mask(model: nn.Module) -> None:
    backbone: Any = backbone_of(model)[1]
    if family_of(model).squeeze:
        raise DistillationError(f"masking: {type(backbone).__name__} squeezes frames; it is not supported.")
    if not hasattr(backbone, "masked_spec_embed") or not getattr(backbone.config, "apply_spec_augment", True):
        raise DistillationError(
            f"masking: this {type(backbone).__name__} has no embedding for masked frames (or SpecAugment is "
            "switched off). Make it with mask_time_prob above 0, or StudentConfig(mask_embedding=True)."
        )


def _check_gradient(heard: Tapped) -> None:
    """Refuse hidden states without a gradient: reentrant checkpointing hides it from hooks."""
    states = [*heard.states.values(), *heard.queries.values()]
    if torch.is_grad_enabled() and states and not any(state.requires_grad for state in states):
        raise DistillationError(
            "the student's hidden states carry no gradient, so it would learn nothing from them. Use "
            "gradient_checkpointing_kwargs={'use_reentrant': False}, or unfreeze the encoder."
        )


def _width(model: nn.Module) -> int:
    return int(backbone_of(model)[1].config.hidden_size)  # type: ignore[union-attr,arg-type]


def _frontend_width(model: nn.Module) -> int:
    return int(backbone_of(model)[1].config.conv_dim[-1])  # type: ignore[union-attr,index]
