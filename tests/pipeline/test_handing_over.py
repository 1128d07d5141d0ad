"""Handing a model over: the lines on its latency, and what its card says of where it came from."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from prune_ssl.artifacts.companions import CARD_OF_SOURCE
from prune_ssl.measuring import Latency
from prune_ssl.pipeline import handing_over
from prune_ssl.pipeline.handing_over import _provenance, latency_lines
from prune_ssl.selection import Limit, parse_budget


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

    monkeypatch.setattr(handing_over, "measure_interleaved", measure)
    return asked


def test_only_latencies_are_measured_under_their_conditions(timed: list[object]) -> None:
    small, dense = nn.Linear(2, 1), nn.Linear(2, 2)
    limits = [limit("macs=60%"), limit("latency=60%@cpu,threads=2,seconds=0.5,dtype=bfloat16")]
    (line,) = latency_lines(limits, small, dense)
    ((models, timing),) = timed
    assert (timing.seconds, timing.threads) == (0.5, 2)
    assert {next(model.parameters()).dtype.itemsize for model in models.values()} == {2}
    assert next(small.parameters()).dtype.itemsize == 4  # a copy was timed
    assert line.startswith("Latency of 0.5 s, cpu, threads=2, bfloat16: 5.0 ms, dense 10.0 ms (50.0%)")
    assert line.endswith("(60.0%)")


def test_on_a_busy_machine_low_quartiles_are_said(timed: list[object]) -> None:
    at = limit("latency=60%@cpu,threads=1,seconds=0.5")
    quiet, busy = latency_lines([at, at], nn.Linear(1, 1), nn.Linear(1, 1))
    assert quiet == busy


def test_without_latency_in_the_budget_nothing_is_measured(timed: list[object]) -> None:
    assert latency_lines([limit("macs=60%"), limit("params=60%")], nn.Linear(1, 1), nn.Linear(1, 1)) == []
    assert timed == []


@pytest.mark.parametrize(
    "content", [None, "no card", "---\nlicense: mit\n---\n# Model\n", "---\na: [\n---\n", b"\xff"]
)
def test_a_card_of_the_source_is_read_where_it_is_one(tmp_path: Path, content: str | bytes | None) -> None:
    if isinstance(content, bytes):
        (tmp_path / CARD_OF_SOURCE).write_bytes(content)
    elif content is not None:
        (tmp_path / CARD_OF_SOURCE).write_text(content)
    recipe = SimpleNamespace(
        model=SimpleNamespace(name="org/model"),
        data=SimpleNamespace(path="/data/words"),
        task="classification",
    )
    found = _provenance(recipe, tmp_path)  # type: ignore[arg-type]
    assert (found.base_model, found.task, found.data) == ("org/model", "classification", "words")
    assert found.source_card.get("license") == ("mit" if content and "mit" in str(content) else None)
    assert found.command.startswith("prune-ssl run ")
