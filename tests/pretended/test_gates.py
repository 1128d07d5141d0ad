"""Gates on a GPU: they learn as on the CPU, wait for nothing, and add few launches."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from prune_ssl import PruningConfig, attach_gates, trace
from prune_ssl.gating import Gates
from prune_ssl.gating.wiring import WeightGate, Wiring
from prune_ssl.selection import KINDS
from prune_ssl.tracing import PruningGraph
from tests.pretended.device import PretendedDevice
from tests.support.models import batch, tiny_model

UNITS = ("conv", "heads", "ffn")
UNORDERED = {"index_add", "index_add_", "scatter_add", "scatter_add_", "put_", "bincount", "histc"}
"""Operations that add in any order on CUDA, as the gradients of `index_select` and `gather` do."""


@pytest.fixture(scope="module")
def dense() -> tuple[nn.Module, PruningGraph]:
    model = tiny_model("wav2vec2", num_hidden_layers=1).train()
    return model, trace(model)


def config(kinds: tuple[str, ...]) -> PruningConfig:
    return PruningConfig(budget="macs=50%", steps=50, round_to=1, kinds=kinds)


def step_of(model: nn.Module, gates: Gates, device: str) -> Callable[[int], None]:
    """A step of plain gradient descent on gates and multipliers."""
    torch.manual_seed(1)
    audio = batch(model, 1600)["input_values"].to(device)
    labels = torch.tensor([0, 1]).to(device)
    optimizer = torch.optim.SGD([gates.log_alpha, gates.multipliers], lr=0.01, foreach=False)

    def step(number: int) -> None:
        (model(audio, labels=labels).loss + gates.penalty(number)).backward()
        optimizer.step()
        optimizer.zero_grad()
        gates.clamp_()

    return step


@pytest.mark.parametrize("kinds", [UNITS, tuple(KINDS)], ids=["3 kinds", "all kinds"])
def test_a_step_waits_for_nothing_and_an_evaluation_neither(
    gpu: PretendedDevice, dense: tuple[nn.Module, PruningGraph], kinds: tuple[str, ...]
) -> None:
    model, graph = copy.deepcopy(dense[0]).to("cuda"), dense[1]
    gates = attach_gates(model, graph, config(kinds))
    step = step_of(model, gates, "cuda")
    step(0)
    gpu.counted.clear()
    step(1)
    assert not [line for _, line in gpu.counted.waits if line.startswith("prune_ssl/")]
    assert sum(gpu.counted.copies.values()) == 1, "the noise of the draw"
    assert not UNORDERED & {name for (name, line) in gpu.counted.launches if line.startswith("prune_ssl/")}
    model.eval()
    gpu.counted.clear()
    with torch.no_grad():
        model(torch.randn(1, 1600, device="cuda"))
    assert not gpu.counted.crossings("prune_ssl/")


def test_gates_learn_the_same_on_both_devices(
    gpu: PretendedDevice, dense: tuple[nn.Module, PruningGraph]
) -> None:
    found = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(3)
        model = copy.deepcopy(dense[0]).to(device)
        gates = attach_gates(model, dense[1], config(UNITS))
        step = step_of(model, gates, device)
        for number in range(2):
            step(number)
        found.append(gates.log_alpha.detach().cpu())
    assert torch.equal(*found)
    assert not torch.equal(found[0], torch.full_like(found[0], float(found[0][0])))


def test_checkpoints_cross_devices(gpu: PretendedDevice, dense: tuple[nn.Module, PruningGraph]) -> None:
    model, graph = copy.deepcopy(dense[0]), dense[1]
    there = copy.deepcopy(model).to("cuda")
    trained = attach_gates(there, graph, config(UNITS))
    step = step_of(there, trained, "cuda")
    step(0)
    state = trained.state_dict()
    here = attach_gates(model, graph, config(UNITS))
    here.load_state_dict(state)
    draws = []
    for gates in (trained, here):
        gates.draw(True)
        draws.append(gates.current().detach().cpu())
    assert torch.equal(*draws)
    back = attach_gates(copy.deepcopy(dense[0]).to("cuda"), graph, config(UNITS))
    back.load_state_dict(here.state_dict())
    for gates in (trained, back):
        gates.draw(True)
        draws.append(gates.current().detach().cpu())
    assert torch.equal(*draws[2:])
    assert not torch.equal(draws[1], draws[2])
    old = state["_extra_state"] | {"stream": bytes(16).hex()}
    here.load_state_dict(state | {"_extra_state": old})  # an earlier version's, from a GPU
    here.draw(True)


def test_one_gather_serves_all_modules(gpu: PretendedDevice) -> None:
    class Source:
        def __init__(self) -> None:
            self.spans = {"a": slice(0, 3), "b": slice(3, 4)}
            self.drawn = torch.ones(4, device="cuda")

        def current(self) -> torch.Tensor:
            return self.drawn

    launches = []
    for modules in (2, 20):
        wiring = Wiring(Source())
        for _ in range(modules):
            WeightGate(wiring, columns={"a": torch.tensor([0, 0, 1, 2])}, blocks=["b"])
        wiring.refresh()
        wiring.source.drawn = torch.ones(4, device="cuda")  # type: ignore[attr-defined]
        gpu.counted.clear()
        wiring.refresh()
        launches.append(sum(gpu.counted.launches.values()))
    assert launches == [5, 5], "two gathers, a one for closed places, and their product"
