"""Modules that stand for emptied parts: blocks give their bias or zeros, layers pass their input on."""

from functools import cache

import torch
from torch import nn
from transformers import PreTrainedConfig

from prune_ssl.models.transformers_internals import attention_of


class BiasOnly(nn.Module):
    """Stands for a Linear whose whole input is gone: it gives the bias (under the same key), or zeros."""

    bias: nn.Parameter | None

    def __init__(self, size: int, bias: bool = True) -> None:
        super().__init__()
        self.size = size
        self.register_parameter("bias", nn.Parameter(torch.zeros(size)) if bias else None)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map (..., any) to (..., size)."""
        shape = (*hidden_states.shape[:-1], self.size)
        left = hidden_states.new_zeros(shape)
        if self.bias is not None:
            left = self.bias.to(hidden_states.dtype).expand(shape).clone()
        if self.training and hidden_states.requires_grad:
            # The norm before an emptied block gets a gradient of zero instead of none: processes that train
            # together wait for a gradient of every parameter.
            left = left + 0.0 * hidden_states.sum(-1, keepdim=True).to(left.dtype)
        return left


class Nothing(nn.Module):
    """Stands for a Linear whose whole output is gone: it gives a tensor of width 0."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map (..., any) to (..., 0)."""
        return hidden_states[..., :0]


class NoMap(nn.Module):
    """Stands where an attention map would be made: transformers records None in the place of the map.

    transformers appends the output of a module if it is no tuple, and skips a None inside a tuple. So with
    fused kernels, which make no maps, this module is recorded as little as the attentions of other layers.
    """

    def __init__(self, config: PreTrainedConfig | None, always: bool = False) -> None:
        """Follow the attention implementation of a `config`, or make maps on demand (`always`)."""
        super().__init__()
        self.config, self.always = config, always

    def forward(self) -> tuple[None, None] | None:
        """Return None if it is to be recorded, else a pair of None, which is not."""
        eager = attention_of(self.config) == "eager"
        return None if eager or self.always else (None, None)


class BiasAttention(nn.Module):
    """An attention block without heads: every frame gets the bias of the output projection, or zeros."""

    def __init__(self, output: str, left: BiasOnly, config: PreTrainedConfig | None) -> None:
        super().__init__()
        self.num_heads = 0
        self.output = output
        self.add_module(output, left)
        self.no_map = NoMap(config)

    def forward(
        self, hidden_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, None]:
        """Map (B, T, D) to (bias broadcast to (B, T, D), no attention map)."""
        bias: torch.Tensor = self.get_submodule(self.output)(hidden_states)
        self.no_map()
        return bias, None


class BiasPostNormAttention(nn.Module):
    """An attention block with a norm of its own and without heads: its output part runs on the bias."""

    def __init__(self, output: nn.Module, config: PreTrainedConfig | None) -> None:
        super().__init__()
        self.output = output
        self.no_map = NoMap(config)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        query_states: torch.Tensor | None = None,
        **kwargs: object,
    ) -> torch.Tensor:
        """Map (B, T, D) to (B, T, D)."""
        self.no_map()
        residual = hidden_states if query_states is None else query_states
        mapped: torch.Tensor = self.output(hidden_states, residual)
        return mapped


class EmptyConvolution(nn.Module):
    """The convolution module of a conformer without channels: it gives zeros (the last layer has no bias)."""

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Map (B, T, D) to zeros (B, T, D)."""
        return torch.zeros_like(hidden_states)


class RemovedLayer(nn.Module):
    """Stands for a layer that is gone: it passes its input on, so that a model keeps its hidden states."""

    def __init__(self, config: PreTrainedConfig | None, hands_on_bias: bool = False) -> None:
        """Follow a `config`; with `hands_on_bias` the layer also returns the position bias of all layers."""
        nn.Module.__init__(self)  # the constructor of the stock layer would make its parts
        self.hands_on_bias = hands_on_bias
        self.no_map = NoMap(config, always=hands_on_bias)

    def forward(
        self,
        hidden_states: torch.Tensor,
        *args: object,
        position_bias: torch.Tensor | None = None,
        **kwargs: object,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor | None]:
        """Return (B, T, D) unchanged, in the form in which the stock layer returns its output."""
        self.no_map()
        if not self.hands_on_bias:
            return hidden_states
        makers = [maker for each in self.children() if (maker := getattr(each, "compute_bias", None))]
        if position_bias is None and makers:
            position_bias = makers[0](hidden_states.shape[1])
        return hidden_states, position_bias


@cache
def removed_layer_of(cls: type[nn.Module]) -> type[nn.Module]:
    """Return a subclass of RemovedLayer and `cls`; transformers records hidden states of the class `cls`."""
    return type(f"Removed{cls.__name__}", (RemovedLayer, cls), {"__init__": RemovedLayer.__init__})
