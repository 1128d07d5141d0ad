"""Convolutions over frames whose memory lies frame by frame, (B, T, C), while their shape is (B, C, T).

The encoder and the layer norms work on (B, T, C), so that stock convolutions copy their input and output from
one order to the other. These modules take and give transposed views, which the neighbours read as they are.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class FramewiseConv1d(nn.Module):
    """A Conv1d that computes in the order (B, T, C) on the CPU; elsewhere it computes as a plain one."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, plain: nn.Conv1d) -> None:
        super().__init__()
        wide = plain.weight.detach()[:, :, None]  # (C', C / groups, 1, K)
        self.register_buffer("weight", wide.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", None if plain.bias is None else plain.bias.detach())
        self.stride, self.dilation, self.groups = plain.stride[0], plain.dilation[0], plain.groups
        self.padding = plain.padding if isinstance(plain.padding, str) else plain.padding[0]

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map (B, C, T) to (B, C', T'); on the CPU both are views of memory in the order (B, T, C)."""
        stride, dilation, padding = self.stride, self.dilation, self.padding
        if hidden_states.device.type != "cpu":
            weight = self.weight[:, :, 0]
            return F.conv1d(hidden_states, weight, self.bias, stride, padding, dilation, self.groups)
        wide = hidden_states[:, :, None].contiguous(memory_format=torch.channels_last)
        around = padding if isinstance(padding, str) else (0, padding)
        made = F.conv2d(wide, self.weight, self.bias, (1, stride), around, (1, dilation), self.groups)
        return made[:, :, 0]


class FramewiseLayer(nn.Module):
    """A layer of the frontend with a layer norm: convolution, norm over channels, activation.

    Each output frame is one product of a matrix with the frames under the kernel, which lie side by side.
    """

    matrix: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, stock: Any) -> None:
        super().__init__()
        conv: nn.Conv1d = stock.conv
        self.register_buffer("matrix", conv.weight.detach().transpose(1, 2).flatten(1))  # (C', K * C)
        self.register_buffer("bias", None if conv.bias is None else conv.bias.detach())
        self.kernel, self.stride = conv.kernel_size[0], conv.stride[0]
        self.layer_norm: nn.LayerNorm = stock.layer_norm
        self.activation: nn.Module = stock.activation

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map (B, C, T) to (B, C', T'), both as views of memory in the order (B, T, C)."""
        frames = hidden_states.transpose(1, 2).contiguous()
        batch, length, channels = frames.shape
        count = (length - self.kernel) // self.stride + 1
        shape = batch, count, self.kernel * channels
        under = frames.as_strided(shape, (length * channels, self.stride * channels, 1))
        mapped = self.layer_norm(F.linear(under, self.matrix, self.bias)).transpose(1, 2)
        activated: torch.Tensor = self.activation(mapped)
        return activated


def can_be_framewise(layer: nn.Module) -> bool:
    """Return whether a layer of a frontend is one that `FramewiseLayer` computes."""
    conv, norm = (getattr(layer, name, None) for name in ("conv", "layer_norm"))
    return (
        type(layer).__name__.endswith("LayerNormConvLayer")
        and isinstance(getattr(layer, "activation", None), nn.Module)
        and isinstance(norm, nn.LayerNorm)
        and type(conv) is nn.Conv1d
        and (conv.padding, conv.dilation, conv.groups) == ((0,), (1,), 1)
    )
