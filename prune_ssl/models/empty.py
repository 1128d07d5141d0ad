"""What remains of emptied parts: blocks that give their bias or nothing, layers that pass their input on."""

from functools import cache
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
        left = hidden_states.new_zeros(shape)
        if bias is not None:
            left = bias.to(hidden_states.dtype).expand(shape).clone()
        if self.training and hidden_states.requires_grad:
            # What stands before an emptied block (its norm) gets a gradient of zero and not none: processes
            # that train together wait for a gradient of every parameter.
            left = left + 0.0 * hidden_states.sum(-1, keepdim=True).to(left.dtype)
        return left


class Nothing(nn.Module):
    """What remains of a Linear whose output is gone: a tensor of width 0."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map (..., any) to (..., 0)."""
        return hidden_states[..., :0]


class NoMap(nn.Module):
    """Stands where an attention map would be made: transformers records its None in the map's place.

    Recording appends the whole output of a module when it is no tuple, and skips a None inside a tuple. So
    nothing is recorded where the other layers record nothing either: their fused kernels make no maps.
    """

    def __init__(self, config: Any, always: bool = False) -> None:
        """Follow the attention implementation of a `config`, unless maps are made on demand, `always`."""
        super().__init__()
        self.config, self.always = config, always

    def forward(self) -> Any:
        """Return None to be recorded, or what is not recorded."""
        eager = getattr(self.config, "_attn_implementation", None) == "eager"
        return None if eager or self.always else (None, None)


class BiasAttention(nn.Module):
    """An attention block with no head left: every frame gets the output projection's bias, or zeros."""

    def __init__(self, output: str, what_is_left: BiasOnly, config: Any) -> None:
        super().__init__()
        self.num_heads = 0
        self.output = output
        self.add_module(output, what_is_left)
        self.no_map = NoMap(config)

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, None]:
        """Map (B, T, D) to (bias broadcast to (B, T, D), no attention map)."""
        bias: torch.Tensor = self.get_submodule(self.output)(hidden_states)
        self.no_map()
        return bias, None


class BiasPostNormAttention(nn.Module):
    """An attention block with a norm of its own and no head left: its output part on the bias."""

    def __init__(self, output: nn.Module, config: Any) -> None:
        super().__init__()
        self.output = output
        self.no_map = NoMap(config)

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: Any, query_states: Any = None, **kwargs: Any
    ) -> torch.Tensor:
        """Map (B, T, D) to (B, T, D)."""
        self.no_map()
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

    def __init__(self, config: Any, hands_on_bias: bool = False) -> None:
        """Follow a `config`; some layers return the position bias that all share beside their output."""
        nn.Module.__init__(self)  # not that of the stock layer
        self.hands_on_bias = hands_on_bias
        self.no_map = NoMap(config, always=hands_on_bias)

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return (B, T, D) as it came, in the form that the stock layer returns."""
        self.no_map()
        if not self.hands_on_bias:
            return hidden_states
        bias = kwargs.get("position_bias")
        makers = [maker for each in self.children() if (maker := getattr(each, "compute_bias", None))]
        if bias is None and makers:
            bias = makers[0](hidden_states.shape[1])
        return hidden_states, bias


@cache
def removed_layer_of(cls: type[nn.Module]) -> type[nn.Module]:
    """Return a RemovedLayer class that is also a `cls`, so that transformers records its hidden state."""
    return type(f"Removed{cls.__name__}", (RemovedLayer, cls), {"__init__": RemovedLayer.__init__})
