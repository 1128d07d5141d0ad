"""The measured amounts of a finished model, under the conditions of its budget."""

import pytest
import torch
from torch import nn

from prune_ssl import resize, trace
from prune_ssl.measuring import Latency
from prune_ssl.profiling import amounts
from prune_ssl.profiling.amounts import reached
from prune_ssl.selection import Limit, parse_budget
from tests.support.models import tiny_model


def limit(budget: str, maximum: int = 6_000_000, dense: int = 10_000_000) -> Limit:
    (constraint,) = parse_budget(budget)
    return Limit(constraint, maximum, dense, cost=None)  # type: ignore[arg-type]


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The dense model takes 10 ms, the small one 5; on a busy machine twice as long."""
    asked: list[object] = []

    def measure(models: dict[str, nn.Module], timing: object) -> dict[str, list[Latency]]:
        asked.append((models, timing))
        busy = len(asked) > 1
        return {
            name: [
                Latency(base * (2 if busy else 1), base, base * (6 if busy else 1), 60, 1, 0.5, low_ms=base)
            ]
            for name, base in (("dense", 10.0), ("small", 5.0))
        }

    monkeypatch.setattr(amounts, "measure_interleaved", measure)
    return asked


def test_only_latencies_are_measured_under_their_conditions(timed: list[object]) -> None:
    small, dense = nn.Linear(2, 1), nn.Linear(2, 2)
    limits = [limit("macs=60%"), limit("latency=60%@cpu,threads=2,seconds=0.5,dtype=bfloat16")]
    (found,) = reached(limits, small, dense)
    ((models, timing),) = timed
    assert (timing.seconds, timing.threads) == (0.5, 2)
    assert {next(model.parameters()).dtype.itemsize for model in models.values()} == {2}
    assert next(small.parameters()).dtype.itemsize == 4  # a copy was timed
    assert (found.small, found.dense) == (5.0, 10.0)
    assert str(found) == (
        "Latency of 0.5 s, cpu, threads=2, bfloat16: 5.0 ms, dense 10.0 ms (50.0%); asked: 6.00 ms (60.0%)"
    )


def test_on_a_busy_machine_low_quartiles_are_said(timed: list[object]) -> None:
    at = limit("latency=60%@cpu,threads=1,seconds=0.5")
    quiet, busy = reached([at, at], nn.Linear(1, 1), nn.Linear(1, 1))
    assert str(quiet) == str(busy)


@pytest.mark.parametrize("budget", ["macs=60%", "params=60%", "memory=60%", "frontend.latency=60%,seconds=1"])
def test_other_amounts_are_not_measured(timed: list[object], budget: str) -> None:
    assert reached([limit(budget)], nn.Linear(1, 1), nn.Linear(1, 1)) == []
    assert timed == []


@pytest.mark.parametrize("runtime", ["bfloat16", "torch-int8"])
def test_a_latency_is_measured_in_the_runtime_of_its_budget(
    runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, opened = tiny_model("hubert"), []
    real = amounts.open_model
    monkeypatch.setattr(amounts, "open_model", lambda *given: (opened.append(given[1:4]), real(*given))[1])
    small = resize(model, trace(model), {"layer.0.ffn": [0, 1]})
    (found,) = reached([limit(f"latency=60%@cpu,runtime={runtime},threads=1,seconds=0.1")], small, model)
    assert opened == [(runtime, 0.1, 1)] * 2
    assert found.small > 0
    assert str(found).startswith(f"Latency of 0.1 s, cpu, threads=1, {runtime}: ")


def test_the_bytes_of_an_exported_file_are_those_of_the_file() -> None:
    model = tiny_model("hubert")
    small = resize(model, trace(model), {"layer.0.ffn": [0, 1]})
    (found,) = reached([limit("memory=60%,runtime=onnx")], small, model)
    lost = sum(each.numel() for each in model.parameters()) - sum(each.numel() for each in small.parameters())
    assert found.small > 0
    assert found.dense - found.small > 4 * lost - 2_000
    assert str(found).startswith("Exported file, onnx: ")


def test_models_are_left_as_they_are() -> None:
    model = tiny_model("hubert")
    before = {name: each.clone() for name, each in model.state_dict().items()}
    reached([limit("latency=60%@cpu,seconds=0.1,dtype=bfloat16")], model, model)
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
