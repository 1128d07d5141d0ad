"""Owns the alignment of loaded weights: CPU kernels round differently where data is unaligned."""

from torch import nn

ALIGNMENT_BYTES = 64
"""The alignment of memory from torch's CPU allocator."""


def align_(model: nn.Module) -> None:
    """Move weights that are unaligned in the mapped file into memory of their own.

    CPU kernels sum unaligned data in another order. A loaded model would differ from the saved one in the
    last bit.

    >>> import torch
    >>> layer = nn.Linear(2, 3)
    >>> layer.bias.data = torch.arange(4.0)[1:]
    >>> align_(layer)
    >>> layer.bias.data_ptr() % ALIGNMENT_BYTES, layer.bias.tolist()
    (0, [1.0, 2.0, 3.0])
    """
    for parameter in model.parameters():
        if parameter.device.type == "cpu" and parameter.data_ptr() % ALIGNMENT_BYTES:
            parameter.data = parameter.data.clone()
