"""A Linear with weights of 8-bit integers, whose inputs PyTorch quantises at run time, on CPUs."""

from collections.abc import Callable

import torch
from torch import nn
from typing_extensions import Self

from prune_ssl.errors import ModelError

FINEST = torch.finfo(torch.float32).eps


class Int8Linear(nn.Linear):
    """A Linear whose weights are integers with one scale for each output.

    `weight` has the shape of the float weights and no data (it is on the meta device), so that parameters are
    counted as before and cannot be used by accident.

    Args:
        linear: The Linear with the weights, in float32 on the CPU.

    >>> linear = nn.Linear(8, 4)
    >>> made = Int8Linear(linear)
    >>> bool((made(torch.ones(1, 8)) - linear(torch.ones(1, 8))).abs().max() < 0.05)
    True
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        weight = linear.weight.detach()
        scales = (weight.abs().amax(1) / 127).clamp(min=FINEST)
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        integers = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(integers, linear.bias)
        self.bias = linear.bias
        self.register_buffer("scales", scales)
        self.requires_grad_(False)
        self.train(linear.training)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the outputs (..., O) of inputs (..., I), in float32."""
        found: torch.Tensor = torch.ops.quantized.linear_dynamic(input.contiguous(), self.packed)
        return found

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Stay on the CPU in float32, because the kernel has no other form.

        Raises:
            ModelError: the model is moved to another device or cast to another dtype.
        """
        probe = fn(torch.zeros(1))
        if (probe.device.type, probe.dtype) != ("cpu", torch.float32):
            raise ModelError(
                f"a model with int8 layers stays on the CPU with float32 outputs; found a move to "
                f"{probe.device}, {probe.dtype}. Move the float model instead, and quantise nothing."
            )
        return self


def has_int8(model: nn.Module) -> bool:
    """Return whether a model has layers with integer weights."""
    return any(isinstance(module, Int8Linear) for module in model.modules())


def put_floats_(model: nn.Module) -> None:
    """Replace each Int8Linear by a Linear of the same shape without data, in place, for counting costs."""
    for path, module in list(model.named_modules()):
        if isinstance(module, Int8Linear):
            plain = nn.Linear(module.in_features, module.out_features, module.bias is not None, device="meta")
            model.set_submodule(path, plain)
