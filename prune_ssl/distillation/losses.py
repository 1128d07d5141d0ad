"""Owns the losses that the package brings, each as a `Loss`, and fills the table `LOSSES` with them."""

import re
from abc import abstractmethod
from collections.abc import Sequence, Set

import torch
from torch import nn

from prune_ssl.distillation.config import (
    ENHANCEMENT,
    LOSSES,
    MASKING,
    DistillationConfig,
    LossFactory,
)
from prune_ssl.distillation.enhancement import (
    ENHANCEMENT_LOSSES,
    PROPORTIONAL,
    RECORDED_LEVEL,
    EnhancementHead,
    spectrogram,
)
from prune_ssl.distillation.hidden import HIDDEN_LOSSES, HiddenLoss, masking_mse
from prune_ssl.distillation.loss import (
    STUDENT,
    Batch,
    Loss,
    Models,
    Pairs,
    output_of,
    require_same_frames,
    require_same_shape,
)
from prune_ssl.distillation.predictions import embedding_cosine, frame_logits_kl, logits_kl
from prune_ssl.distillation.relations import average_attention, intra_gram, layer_gram
from prune_ssl.distillation.taps import FRONTEND, stage_of
from prune_ssl.distillation.together import alike, stacked, valid_of
from prune_ssl.errors import DistillationError
from prune_ssl.models import backbone_of, family_of
from prune_ssl.models.arguments import shown


def hidden_pairs(config: DistillationConfig, depths: tuple[int, int]) -> Pairs:
    """Return the layers whose hidden states are compared: as configured, or 0 and the thirds of the depth.

    Args:
        config: with `projection="heads"` every pair has the student's last layer.
        depths: encoder layers of the student and of the teacher.
    """
    if config.layers is not None:
        pairs = [_pair(each) for each in config.layers]
    else:
        pairs = [(round(third * depths[0] / 3), round(third * depths[1] / 3)) for third in range(4)]
        pairs = pairs[1:] if config.projection == "heads" else pairs
    if config.projection == "heads":
        pairs = [(depths[0], layer) for _, layer in pairs]
    return tuple(pairs if config.layers is not None else dict.fromkeys(pairs))


def relation_pairs(config: DistillationConfig, depths: tuple[int, int]) -> Pairs:
    """Return the layers whose relations are compared: as configured, or each of the student's."""
    if config.relation_layers is not None:
        return tuple(_pair(each) for each in config.relation_layers)
    return tuple((layer, round(layer * depths[1] / depths[0])) for layer in range(depths[0] + 1))


def _pair(layers: int | tuple[int, int]) -> tuple[int, int]:
    return (layers, layers) if isinstance(layers, int) else layers


# -- hidden states


class HiddenStates(Loss):
    """A function of student and teacher states of equal width, weighted over pairs of layers."""

    projected = True
    relies_on = frozenset({"hidden"})

    def __init__(
        self, name: str, function: HiddenLoss | None, config: DistillationConfig, models: Models
    ) -> None:
        self.name, self.function = name, function
        self.pairs = hidden_pairs(config, models.depths)
        self.weights = config.layer_weights or [1 / len(self.pairs)] * len(self.pairs)

    def states(self, side: int) -> Set[int]:
        """Return the layers of the pairs."""
        return {pair[side] for pair in self.pairs}

    def value(self, batch: Batch) -> torch.Tensor:
        """Return the weighted sum over pairs of layers, a scalar."""
        total = torch.zeros((), device=batch.predictions[0].device)
        targets = [batch.teacher.states[layer] for _, layer in self.pairs]
        rows = list(zip(batch.predictions, targets, strict=True))
        for row in rows:
            require_same_shape(self.name, *row)
        for places in self._together(batch, rows):
            weight, (_, layer) = self.weights[places[0]], self.pairs[places[0]]
            if len(places) == 1:
                total = total + weight * self.of_layer(batch, rows[places[0]][0], layer)
                continue
            assert self.function is not None
            own, target = stacked([rows[place] for place in places])
            valid = valid_of(batch, own.shape[1], stage_of(layer), len(places))
            total = total + weight * len(places) * self.function(own, target, valid)
        return total

    def _together(self, batch: Batch, rows: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[list[int]]:
        """Return the places of pairs that one call of the function compares.

        The package's own functions are means over clips. Others may be anything.
        """
        if self.function not in HIDDEN_LOSSES.values() or len(set(self.weights)) > 1:
            return [[place] for place in range(len(rows))]
        return alike(rows, [batch.stage(stage_of(layer)) for _, layer in self.pairs])

    def of_layer(self, batch: Batch, prediction: torch.Tensor, layer: int) -> torch.Tensor:
        """Return the loss of one pair, for a prediction (B, T, D_T) of the teacher's layer; a scalar."""
        assert self.function is not None
        target = batch.teacher.states[layer]
        return self.function(prediction, target, batch.valid(target.shape[1], stage_of(layer)))


class Masking(HiddenStates):
    """ARM's masking distillation: the student hears masked input, the teacher both (methods 6.3)."""

    masks_input = True

    def __init__(self, config: DistillationConfig, models: Models) -> None:
        super().__init__(MASKING, None, config, models)
        for model in (models.teacher, models.student):
            _check_can_mask(model)

    def of_layer(self, batch: Batch, prediction: torch.Tensor, layer: int) -> torch.Tensor:
        """Return `masking_mse` of one pair, a scalar."""
        clean, masked = batch.teacher.states[layer], batch.teacher_masked.states[layer]
        frames = batch.masked_frames
        if frames is None:
            frames = clean.new_zeros(clean.shape[:2], dtype=torch.bool)
        valid = batch.valid(clean.shape[1], stage_of(layer))
        return masking_mse(prediction, clean, masked, frames, valid)


def _check_can_mask(model: nn.Module) -> None:
    backbone = backbone_of(model)[1]
    config: object = getattr(backbone, "config", None)
    if family_of(model).squeeze:
        raise DistillationError(f"masking: {type(backbone).__name__} squeezes frames; it is not supported.")
    if not hasattr(backbone, "masked_spec_embed") or not getattr(config, "apply_spec_augment", True):
        raise DistillationError(
            f"masking: this {type(backbone).__name__} has no embedding for masked frames (or SpecAugment is "
            "switched off). Make it with mask_time_prob above 0, or StudentConfig(mask_embedding=True)."
        )


def on_hidden_states(function: HiddenLoss, name: str | None = None) -> LossFactory:
    """Make a loss for `register_loss` of a function that compares hidden states of equal width.

    Args:
        function: maps student (B, T, D), teacher (B, T, D) and valid (B, T) bool or None to a scalar.
        name: what messages call it; None: the function's own name.

    Example:
        >>> from torch.nn.functional import smooth_l1_loss
        >>> from prune_ssl.distillation import on_hidden_states
        >>> factory = on_hidden_states(lambda own, target, valid: smooth_l1_loss(own, target), "huber")
    """
    called = str(name or getattr(function, "__name__", "loss"))
    return lambda config, models: HiddenStates(called, function, config, models)


# -- relations


class Relation(Loss):
    """Compares relations between frames: T x T of both models, so that widths and heads may differ."""

    name = ""
    relies_on = frozenset({"hidden"})

    def __init__(self, config: DistillationConfig, models: Models) -> None:
        self.pairs = relation_pairs(config, models.depths)
        self.scale = config.gram_scale

    def value(self, batch: Batch) -> torch.Tensor:
        """Return the mean over pairs of layers, a scalar."""
        found = [(own, row) for own, other in self.pairs if (row := self.of_layers(batch, own, other))]
        if not found:
            raise DistillationError(
                f"{self.name}: no pair of layers has what it compares; found the pairs {self.pairs}."
            )
        stages, rows = [batch.stage(stage_of(own)) for own, _ in found], [row for _, row in found]
        groups = alike(rows, stages)
        parts = []
        for places in groups:
            together = stacked([rows[place] for place in places])
            valid = valid_of(batch, together[0].shape[-2], stages[places[0]], len(places))
            parts.append(self.compare(together, valid) * (len(places) / len(rows)))
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum()

    @abstractmethod
    def of_layers(self, batch: Batch, own: int, other: int) -> tuple[torch.Tensor, ...] | None:
        """Return what one pair of layers is compared by; None where one of them has no such relation."""

    @abstractmethod
    def compare(self, tensors: Sequence[torch.Tensor], valid: torch.Tensor | None) -> torch.Tensor:
        """Return the mean loss over the clips of tensors as `of_layers` returns them, a scalar."""


class LayerGram(Relation):
    """STaR's layer-wise relation."""

    name = "layer_gram"

    def states(self, side: int) -> Set[int]:
        """Return the layers of the pairs."""
        return {pair[side] for pair in self.pairs}

    def of_layers(self, batch: Batch, own: int, other: int) -> tuple[torch.Tensor, ...] | None:
        """Return the two layers' outputs."""
        states = batch.student.states[own], batch.teacher.states[other]
        require_same_frames(self.name, *states)
        return states

    def compare(self, tensors: Sequence[torch.Tensor], valid: torch.Tensor | None) -> torch.Tensor:
        """Return `layer_gram`."""
        student, teacher = tensors
        return layer_gram(student, teacher, valid, self.scale)


class IntraGram(LayerGram):
    """STaR's intra-layer relation: between a layer's input and its output."""

    name = "intra_gram"

    def states(self, side: int) -> Set[int]:
        """Return the layers of the pairs and those before them."""
        return super().states(side) | {pair[side] - 1 for pair in self.pairs if min(pair) > 0}

    def of_layers(self, batch: Batch, own: int, other: int) -> tuple[torch.Tensor, ...] | None:
        """Return the inputs and outputs of the two layers; hidden state 0 has no layer before it."""
        if min(own, other) == 0:
            return None
        student, teacher = batch.student.states, batch.teacher.states
        states = student[own - 1], student[own], teacher[other - 1], teacher[other]
        require_same_frames(self.name, *states)
        return states

    def compare(self, tensors: Sequence[torch.Tensor], valid: torch.Tensor | None) -> torch.Tensor:
        """Return `intra_gram`."""
        student_in, student_out, teacher_in, teacher_out = tensors
        return intra_gram(student_in, student_out, teacher_in, teacher_out, valid, self.scale)


class Attention(Relation):
    """STaR's relation of attention maps, averaged over heads."""

    name = "attention"

    def maps(self, side: int) -> Set[int]:
        """Return the layers of the pairs that have attention: all but state 0."""
        return {pair[side] for pair in self.pairs if min(pair) > 0}

    def of_layers(self, batch: Batch, own: int, other: int) -> tuple[torch.Tensor, ...] | None:
        """Return queries and keys of the two layers, where both have a head left."""
        student, teacher = batch.student, batch.teacher
        if own not in student.queries or other not in teacher.queries:
            return None
        return student.queries[own], student.keys[own], teacher.queries[other], teacher.keys[other]

    def compare(self, tensors: Sequence[torch.Tensor], valid: torch.Tensor | None) -> torch.Tensor:
        """Return `average_attention`."""
        own_queries, own_keys, queries, keys = tensors
        return average_attention(own_queries, own_keys, queries, keys, valid)


# -- predictions


class Logits(Loss):
    """Divergence of the teacher's and the student's class probabilities, of clips or of frames."""

    field = "logits"

    def __init__(self, config: DistillationConfig, models: Models) -> None:
        self.temperature, self.groups = config.temperature, config.logit_groups

    def value(self, batch: Batch) -> torch.Tensor:
        """Return `logits_kl` or `frame_logits_kl`, a scalar."""
        student, teacher = output_of(batch.student_outputs, "logits"), batch.teacher_outputs["logits"]
        require_same_shape("logits", student, teacher)
        if student.dim() == 3:
            valid = batch.valid(student.shape[1], "output")
            return frame_logits_kl(student, teacher, valid, self.temperature)
        if self.groups is not None and sum(self.groups) > student.shape[-1]:
            raise DistillationError(
                f"logit_groups: {sum(self.groups)} logits in groups, but the models have {student.shape[-1]}."
            )
        return logits_kl(student, teacher, self.temperature, self.groups)


class Embedding(Loss):
    """Cosine distance of the embeddings of clips."""

    field = "embeddings"

    def __init__(self, config: DistillationConfig, models: Models) -> None:
        """Nothing is configured."""

    def value(self, batch: Batch) -> torch.Tensor:
        """Return `embedding_cosine`, a scalar."""
        student = output_of(batch.student_outputs, "embeddings")
        require_same_shape("embedding", student, batch.teacher_outputs["embeddings"])
        return embedding_cosine(student, batch.teacher_outputs["embeddings"])


# -- clean audio


class Enhancement(Loss):
    """RobustDistiller's second task: the clean audio, from the corrupted one that the student hears."""

    def __init__(self, config: DistillationConfig, models: Models) -> None:
        if family_of(models.student).input.time_axis is None:
            raise DistillationError("enhancement: it compares samples, and this student reads spectrograms.")
        frontend = config.enhancement_input == "frontend"
        self.layer = FRONTEND if frontend else models.depths[STUDENT]
        self.width = models.frontend_width if frontend else models.widths[STUDENT]
        self.units, self.function = config.enhancement_units, ENHANCEMENT_LOSSES[config.enhancement]
        self.proportional = config.enhancement in PROPORTIONAL
        self.relies_on = frozenset({"hidden", "conv"} if frontend else {"hidden"})
        self.head: EnhancementHead | None = None

    def states(self, side: int) -> Set[int]:
        """Return the layer that the head reads; the teacher is not asked."""
        return {self.layer} if side == STUDENT else frozenset()

    def make_module(self) -> nn.Module:
        """Return the head that estimates a mask of the spectrogram."""
        self.head = EnhancementHead(self.width, self.units)
        return self.head

    def value(self, batch: Batch) -> torch.Tensor:
        """Return the configured loss of the enhanced audio, a scalar.

        It is that of audio as it is recorded, also where a feature extractor has given the audio unit
        variance. A weight therefore means the same for every teacher.
        """
        noisy, clean, lengths = batch.audio, batch.clean_audio, batch.lengths
        if clean is None:
            raise DistillationError(
                "enhancement: the batch has no teacher_input_values, the clean audio; wrap the dataset in a "
                "CorruptedDataset."
            )
        assert self.head is not None
        noisy, clean = noisy.flatten(1), clean.flatten(1)  # some models want an axis of channels
        if lengths is None:
            lengths = torch.full((len(noisy),), noisy.shape[1], device=noisy.device)
        mask = self.head(batch.student.states[self.layer], spectrogram(noisy[:1]).shape[1])
        level = RECORDED_LEVEL if batch.normalized and self.proportional else 1.0
        return level * self.function(mask, noisy, clean, lengths)


OWN: dict[str, LossFactory] = {
    **{name: on_hidden_states(function, name) for name, function in HIDDEN_LOSSES.items()},
    **{kind.name: kind for kind in (Attention, LayerGram, IntraGram)},
    "logits": Logits,
    "embedding": Embedding,
    MASKING: Masking,
    ENHANCEMENT: Enhancement,
}
LOSSES.update(OWN)


def register_loss(name: str, factory: LossFactory) -> None:
    """Add a distillation loss of your own, whose name `DistillationConfig.losses` and recipes then know.

    Registering the same name once more replaces it, so that a notebook's cell can run twice.

    Args:
        name: letters, digits and `_`; not one of the package's own.
        factory: called with the DistillationConfig and the two models (`Models`); returns a `Loss`.
            `on_hidden_states(function)` makes one of a function of two states.

    Raises:
        DistillationError: the name is taken or malformed, or `factory` cannot be called.

    Example:
        >>> import prune_ssl
        >>> from torch.nn.functional import smooth_l1_loss
        >>> from prune_ssl.distillation import LOSSES, on_hidden_states
        >>> huber = on_hidden_states(lambda own, target, valid: smooth_l1_loss(own, target), "huber")
        >>> prune_ssl.register_loss("huber", huber)
        >>> prune_ssl.DistillationConfig(losses={"huber": 1.0}).losses
        {'huber': 1.0}
        >>> del LOSSES["huber"]
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name):
        raise DistillationError(
            f"register_loss: found the name {name!r:.60}, wanted a letter, then letters, digits or _."
        )
    if name in OWN or name == "projections":
        raise DistillationError(f"register_loss: {name!r} is one of the package's own; choose another name.")
    if not callable(factory):
        raise DistillationError(
            f"register_loss: found {shown(factory)} for {name!r}, wanted a function of (config, models) that "
            "returns a prune_ssl.distillation.Loss, such as on_hidden_states(function)."
        )
    LOSSES[name] = factory
