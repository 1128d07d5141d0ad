"""What a model of unknown input takes: an example of the user's, and its lengths if an axis is named."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn
from transformers import PreTrainedConfig, SequenceFeatureExtractor

from prune_ssl.errors import ModelError
from prune_ssl.models.arguments import shown
from prune_ssl.models.inputs import SAMPLE_RATE_HZ, Kernels

Inputs: TypeAlias = torch.Tensor | Sequence[torch.Tensor] | Mapping[str, torch.Tensor]
SHARES = (1.0, 0.81, 0.62)
"""Lengths at which clocks are read, as shares of the example's: a model may not take longer ones."""


def call(model: nn.Module, inputs: Inputs) -> object:
    """Return what a model gives for a tensor, for several by position, or for several by name."""
    if isinstance(inputs, torch.Tensor):
        return model(inputs)
    return model(**inputs) if isinstance(inputs, Mapping) else model(*inputs)


@dataclass(frozen=True, eq=False)
class Example:
    """An input for `trace(model, example=...)`, where no family says what the model takes.

    Costs are those of one clip as long as the example. Where `time_axis` names the axis of its length, costs
    are functions of the length, as `seconds` of the example stand for the entries of that axis.

    >>> import torch
    >>> example = Example({"features": torch.zeros(1, 200, 80)}, time_axis=1, seconds=2.0)
    >>> example.at(0.5)["features"].shape
    torch.Size([1, 50, 80])
    """

    inputs: Inputs
    """A tensor, or tensors by position or by name; the first axis counts clips."""
    time_axis: int | None = None
    """Axis of the first tensor, and of those of the same length there, that counts samples or frames."""
    seconds: float = 1.0
    """Seconds of audio that the example stands for."""

    name = "example"
    mask = ""
    extractor = ""

    def __post_init__(self) -> None:
        tensors = self.tensors
        if not tensors or not all(isinstance(each, torch.Tensor) and each.dim() for each in tensors):
            raise ModelError(
                f"example: found {shown(self.inputs)}, wanted what the model takes: a tensor, or a tuple or "
                "dict of tensors."
            )
        if self.time_axis is None:
            return
        if not 0 < self.time_axis < tensors[0].dim():
            raise ModelError(
                f"example: time_axis is {self.time_axis}, and the first tensor has the axes 0 to "
                f"{tensors[0].dim() - 1}, of which 0 counts clips."
            )
        if round(self.seconds * SAMPLE_RATE_HZ) % self.entries:
            raise ModelError(
                f"example: {self.entries} entries for {self.seconds:g} s are no whole number of samples each "
                f"(of {SAMPLE_RATE_HZ:,} in a second); state other seconds."
            )

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The tensors in order."""
        if isinstance(self.inputs, torch.Tensor):
            return [self.inputs]
        return list(self.inputs.values() if isinstance(self.inputs, Mapping) else self.inputs)

    @property
    def entries(self) -> int:
        """Length of the time axis."""
        return 1 if self.time_axis is None else self.tensors[0].shape[self.time_axis]

    def at(self, seconds: float, device: str = "cpu") -> Inputs:
        """Return one clip of this length: zeros, of the example's types."""
        entries = round(self.entries * seconds / self.seconds)

        def made(tensor: torch.Tensor) -> torch.Tensor:
            shape = [1, *tensor.shape[1:]]
            axis = self.time_axis
            if axis is not None and len(shape) > axis and tensor.shape[axis] == self.entries:
                shape[axis] = entries
            return torch.zeros(shape, dtype=tensor.dtype, device=device)

        return self._each(made)

    def noise(self, dtype: torch.dtype, generator: torch.Generator) -> Inputs:
        """Return one clip as long as the example: noise for floating point numbers, else its own values."""

        def made(tensor: torch.Tensor) -> torch.Tensor:
            first = tensor[:1].detach().cpu()
            return (
                torch.randn(first.shape, generator=generator).to(dtype)
                if first.is_floating_point()
                else first
            )

        return self._each(made)

    def probes(self) -> tuple[float, ...]:
        """Return the seconds at which clocks are read."""
        if self.time_axis is None:
            return (self.seconds,)
        return tuple(round(self.entries * share) * self.seconds / self.entries for share in SHARES)

    def shape(self, seconds: float, config: PreTrainedConfig | None) -> tuple[int, ...]:
        """Return the shape of the first tensor for one clip."""
        made = self.at(seconds, "meta")
        return tuple(Example(made).tensors[0].shape)

    def kernels(self) -> Kernels:
        """Return what makes the entries of the time axis from samples."""
        samples = round(self.seconds * SAMPLE_RATE_HZ) // self.entries
        return ((samples, samples),) if self.time_axis is not None else ((1, 1),)

    def fixed_samples(self, config: PreTrainedConfig | None) -> int | None:
        """Return the length of the example, None where a time axis is named."""
        return round(self.seconds * SAMPLE_RATE_HZ) if self.time_axis is None else None

    def tiny(self) -> dict[str, int]:
        """Return nothing: recipes make no such model."""
        return {}

    def new_extractor(self, config: PreTrainedConfig) -> SequenceFeatureExtractor:
        """Refuse: nothing makes such an input of audio.

        Raises:
            ModelError: always.
        """
        raise ModelError("nothing makes this input of audio; train the model with the Python API.")

    def _each(self, made: Callable[[torch.Tensor], torch.Tensor]) -> Inputs:
        if isinstance(self.inputs, torch.Tensor):
            return made(self.inputs)
        if isinstance(self.inputs, Mapping):
            return {name: made(tensor) for name, tensor in self.inputs.items()}
        return tuple(made(tensor) for tensor in self.inputs)
