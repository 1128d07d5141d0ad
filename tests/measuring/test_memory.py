"""Peak memory of a forward pass."""

from pathlib import Path

import pytest
import torch
from torch import nn

from prune_ssl.measuring.memory import peak_memory_bytes


class Hungry(nn.Module):
    """Needs 4 bytes x 64 Mi for a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return torch.ones(64 * 2**20).sum() + waveform.sum()


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs Linux's resettable high-water mark"
)
def test_peak_memory_sees_a_large_buffer_even_after_a_larger_one() -> None:
    torch.ones(128 * 2**20).sum()  # an earlier peak of the process
    found = peak_memory_bytes(Hungry(), 0.1)
    if found is None:
        pytest.skip("this system can't reset the high-water mark")
    assert found == pytest.approx(4 * 64 * 2**20, rel=0.1)
