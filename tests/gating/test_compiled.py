"""Compiled gated modules compute and learn as eager ones, at each draw."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from prune_ssl.gating.modules import swap_class
from prune_ssl.gating.wiring import AxisGate, WeightGate, Wiring

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor"),  # Dynamo looks at each input's
]
CHANNELS = 6
DRAWS = 2


class Source:
    """Gates of two groups, one of which is a whole block."""

    def __init__(self) -> None:
        self.spans = {"units": slice(0, CHANNELS), "block": slice(CHANNELS, CHANNELS + 1)}
        self.log_alpha = torch.rand(CHANNELS + 1).requires_grad_()
        self.drawn = self.log_alpha * 1.0

    def current(self) -> torch.Tensor:
        return self.drawn


def gradients(make: Callable[[], nn.Module], given: torch.Tensor, compiled: bool) -> list[torch.Tensor]:
    torch.manual_seed(1)
    torch._dynamo.reset()
    source = Source()
    wiring, module = Wiring(source), make()
    gate: WeightGate | AxisGate
    if isinstance(module, nn.LayerNorm):
        gate = AxisGate(wiring, "units", None)
    else:
        gate = WeightGate(wiring, columns={"units": torch.arange(CHANNELS)}, blocks=["block"])
    swap_class(module, gate)
    called = torch.compile(module, backend="aot_eager", fullgraph=True) if compiled else module
    found: list[torch.Tensor] = []
    for draw in range(DRAWS):
        source.drawn = source.log_alpha * (1.0 + draw)
        wiring.refresh()
        result = called(given)
        result.square().sum().backward()
        found.append(result.detach())
    assert source.log_alpha.grad is not None
    return [
        *found,
        source.log_alpha.grad,
        *(each.grad for each in module.parameters() if each.grad is not None),
    ]


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Linear(CHANNELS, 3), (10, CHANNELS)),
        (lambda: nn.Linear(CHANNELS, 30), (1, CHANNELS)),
        (lambda: nn.LayerNorm(CHANNELS), (10, CHANNELS)),
        (lambda: nn.Conv1d(CHANNELS, 3, 3), (2, CHANNELS, 9)),
    ],
    ids=["scaled weight", "scaled input", "norm", "convolution"],
)
def test_a_compiled_module_reads_each_draw(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    given = torch.randn(shape)
    for eager, compiled in zip(*(gradients(make, given, each) for each in (False, True)), strict=True):
        torch.testing.assert_close(compiled, eager)
