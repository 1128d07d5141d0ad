"""What remains of emptied parts: blocks that give their bias or nothing, layers that pass their input on."""

from typing import Any

import torch
from torch import nn


class BiasOnly(nn.Module):
    """What remains of a Linear whose input is gone: its bias (under the same key), or zeros."""

    def __init__(self, size: int, bias: bool = True) -> None:
        super().__init__()
        self.size = size
        self.register_parameter("bias", nn.Parameter(torch.zeros(size)) if bias else None)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map (..., any) to (..., size)."""
        shape = (*hidden_states.shape[:-1], self.size)
        bias = self._parameters["bias"]
        if bias is None:
            return hidden_states.new_zeros(shape)
        return bias.to(hidden_states.dtype).expand(shape).clone()


class Nothing(nn.Module):
    """What remains of a Linear whose output is gone: a tensor of width 0."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map (..., any) to (..., 0)."""
        return hidden_states[..., :0]


class BiasAttention(nn.Module):
    """An attention block with no head left: every frame gets the output projection's bias, or zeros."""

    def __init__(self, output: str, what_is_left: BiasOnly) -> None:
        super().__init__()
        self.num_heads = 0
        self.output = output
        self.add_module(output, what_is_left)

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, None]:
        """Map (B, T, D) to (bias broadcast to (B, T, D), no attention map)."""
        bias: torch.Tensor = self.get_submodule(self.output)(hidden_states)
        return bias, None


class BiasPostNormAttention(nn.Module):
    """SEW-D's attention block with no head left: its output part (dense, residual, norm) on the bias."""

    def __init__(self, output: nn.Module) -> None:
        super().__init__()
        self.output = output

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: Any, query_states: Any = None, **kwargs: Any
    ) -> torch.Tensor:
        """Map (B, T, D) to (B, T, D)."""
        residual = hidden_states if query_states is None else query_states
        mapped: torch.Tensor = self.output(hidden_states, residual)
        return mapped


class EmptyConvolution(nn.Module):
    """A conformer's convolution module with no channel left: zeros (its last layer has no bias)."""

    def forward(self, hidden_states: torch.Tensor, attention_mask: Any = None) -> torch.Tensor:
        """Map (B, T, D) to zeros (B, T, D)."""
        return torch.zeros_like(hidden_states)


class RemovedLayer(nn.Module):
    """A whole layer that is gone: passes its input on, so that models keep their number of hidden states."""

    hands_on_bias = False  # WavLM's layers return the position bias that all share beside their output

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return (B, T, D) as it came, in the form that the stock layer returns."""
        if not self.hands_on_bias:
            return hidden_states
        bias = kwargs.get("position_bias")
        if bias is None and "attention" in self._modules:
            bias = self.attention.compute_bias(hidden_states.shape[1])  # type: ignore[operator,union-attr]
        return hidden_states, bias


def removed_layer_of(cls: type[nn.Module]) -> type[nn.Module]:
    """Return a RemovedLayer class that is also a `cls`, so that transformers records its hidden state."""
    return type(f"Removed{cls.__name__}", (RemovedLayer, cls), {"__init__": RemovedLayer.__init__})
