"""Owns taps: hooks that pick hidden states, queries and keys out of a model's own forward pass."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from prune_ssl.errors import DistillationError
from prune_ssl.models import backbone_of, family_of
from prune_ssl.models.layers import stated_size, submodule_or_none
from prune_ssl.tracing.cost import conv_frames
from prune_ssl.tracing.twin import kernels_of

FRONTEND = -1
Stage = Literal["input", "encoder", "output"]


@dataclass
class Tapped:
    """What one forward pass gave: `states[l]` (B, T, D); `queries[l]`, `keys[l]` (B, H, T, d_h)."""

    states: dict[int, torch.Tensor] = field(default_factory=dict)
    queries: dict[int, torch.Tensor] = field(default_factory=dict)
    keys: dict[int, torch.Tensor] = field(default_factory=dict)


Hook = Callable[..., None]
"""A forward hook, which is called with a module, its arguments and its output."""


class Taps:
    """Hooks on one model; they record only inside `listening()`.

    Hidden state -1 is the output of the frontend, 0 that of the feature projection, l that of encoder layer
    l. Queries come times
    d_h^-1/2. Made maps need no eager attention, and no output of the model is asked for or kept.
    """

    def __init__(self, model: nn.Module, states: Iterable[int], maps: Iterable[int]) -> None:
        self.family = family_of(model)
        self.backbone = backbone_of(model)[1]
        self.depth = depth_of(model)
        self._tapped: Tapped | None = None
        self._handles: list[RemovableHandle] = []
        self.states = sorted(set(states))
        for layer in self.states:
            self._check(layer)
            self._handles.append(self._tap_state(layer))
        self.maps = [layer for layer in sorted(set(maps)) if self._tap_map(layer)]

    @contextmanager
    def listening(self) -> Iterator[Tapped]:
        """Record the forward passes inside; the last one counts. What was recorded is the caller's."""
        self._tapped = tapped = Tapped()
        try:
            yield tapped
        finally:
            self._tapped = None

    def remove(self) -> None:
        """Take all hooks off the model."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def frames(self, samples: int, stage: Stage = "input") -> int:
        """Return T for N samples at a stage."""
        return conv_frames(samples, self._kernels(stage))[-1]

    def same_stage(self, stage: Stage) -> Stage:
        """Return the first stage that has the same frames: `input`, unless time is shortened after it."""
        return "input" if self._kernels(stage) == self._kernels("input") else stage

    def valid_frames(self, lengths: torch.Tensor, frames: int, stage: Stage) -> torch.Tensor:
        """Map numbers of samples without padding (B,) to (B, T) bool, True on the frames that they give."""
        # A frame needs so many samples. The comparison is on the device, so that no host waits for lengths.
        needed = np.arange(1, frames + 1)
        for kernel, stride in reversed(self._kernels(stage)):
            needed = ((needed - 1) * stride + kernel) * (needed > 0)
        return lengths[:, None] >= torch.from_numpy(needed).to(lengths.device, non_blocking=True)

    def _convs(self) -> list[Any]:
        return [self.backbone.get_submodule(path) for path in self.family.convs(self.backbone)]

    def _kernels(self, stage: Stage) -> tuple[tuple[int, int], ...]:
        """Return what shortens time up to a stage: convolutions; squeezing; an adapter's strides."""
        convs = self._convs()
        kernels = kernels_of(self.backbone, self.family, convs)
        frontend = len(self.family.input.kernels()) + len(convs)
        encoder = frontend + bool(self.family.squeeze)
        if stage == "output":  # an upsampling stretches time again
            return kernels[:frontend] + kernels[encoder:]
        return kernels[: encoder if stage == "encoder" else frontend]

    def _tap_state(self, layer: int) -> RemovableHandle:
        path = self._state_path(layer)
        if path:
            return self.backbone.get_submodule(path).register_forward_hook(self._state_hook(layer))
        # No module gives the state before the layers: it is the input of the first.
        record = self._state_hook(layer)
        first = self.family.layers(self.backbone)[0]
        return first.register_forward_pre_hook(lambda module, args: record(module, args, args[0]))

    def _state_path(self, layer: int) -> str:
        """Return the path of the module that gives a state, "" where none does."""
        if layer > 0:
            return self.family.layer_path(layer - 1)
        if layer == FRONTEND:
            path = self.family.convs(self.backbone)[-1].rpartition(".")[0]
            if not path:
                raise DistillationError(
                    f"{type(self.backbone).__name__} has no module for its frontend, whose output is asked "
                    "for; use enhancement_input='last'."
                )
            return path
        known = {path for path, _ in self.backbone.named_modules()}
        found = (path for path, section in self.family.sections if section == "projection" and path in known)
        return next(found, "")

    def _check(self, layer: int) -> None:
        if layer > self.depth:
            raise DistillationError(
                f"layer {layer} is asked of a {type(self.backbone).__name__} with {self.depth} encoder "
                f"layers; wanted 0 (the feature projection) to {self.depth}."
            )

    def _state_hook(self, layer: int) -> Hook:
        def record(
            _module: nn.Module, _args: object, output: torch.Tensor | tuple[torch.Tensor, ...]
        ) -> None:
            if self._tapped is None:
                return
            state = output[0] if isinstance(output, tuple) else output
            if layer == FRONTEND:  # (B, C, T)
                state = state.mT
            # transformers writes masks and padding into the projection's output in place.
            self._tapped.states[layer] = state.clone() if layer == 0 else state

        return record

    def _tap_map(self, layer: int) -> bool:
        """Tap queries and keys of a layer; return False where no head is left."""
        self._check(layer)
        roles = self.family.attention
        if roles.positions:
            raise DistillationError(
                f"attention: the maps of {self.family.name} depend on relative positions too, so they cannot "
                "be made from queries and keys; use layer_gram and intra_gram."
            )
        block = self.backbone.get_submodule(self.family.layer_path(layer - 1))
        attention = submodule_or_none(block, roles.path)
        parts = {} if attention is None else dict(attention.named_modules())
        if attention is None or not {roles.queries, roles.keys} <= parts.keys():
            return False
        head_dim = stated_size(attention, roles.head_size)

        def record(into: str, factor: float) -> Hook:
            def hook(_module: nn.Module, _args: object, output: torch.Tensor) -> None:
                if self._tapped is not None:
                    heads = output.view(*output.shape[:2], -1, head_dim).transpose(1, 2)
                    getattr(self._tapped, into)[layer] = heads * factor

            return hook

        for leaf, into, factor in (
            (roles.queries, "queries", head_dim**-0.5),
            (roles.keys, "keys", 1.0),
        ):
            self._handles.append(parts[leaf].register_forward_hook(record(into, factor)))
        return True


def stage_of(layer: int) -> Stage:
    """Return the stage at which hidden state `layer` has its frames."""
    return "encoder" if layer > 0 else "input"


def check_supported(model: nn.Module) -> None:
    """Refuse what cannot be tapped.

    Raises:
        DistillationError: a model whose input recipes do not make (filterbanks), or not of transformers.
        ModelError: no known speech SSL model.
    """
    family = family_of(model)
    if not family.input.extractor or family.library != "transformers":
        raise DistillationError(
            f"{type(model).__name__} cannot be distilled: wanted a model of transformers that reads "
            "waveforms or log-mel spectrograms."
        )


def depth_of(model: nn.Module) -> int:
    """Return the number of encoder layers of a speech SSL model."""
    return len(family_of(model).layers(backbone_of(model)[1]))
