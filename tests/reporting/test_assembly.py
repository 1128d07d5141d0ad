"""The report: what it says of a model, of a pair of models and of a budget."""

from pathlib import Path

import pytest

from prune_ssl.errors import BudgetError
from prune_ssl.measuring import Timing
from prune_ssl.reporting import Report, RunFacts, render, report
from prune_ssl.reporting.content import sections
from prune_ssl.resizing import resize
from prune_ssl.tracing import trace
from tests.support.models import tiny_model


def test_costs_are_those_of_the_graphs(made: Report) -> None:
    dense, small = made.data.baseline, made.data.model
    assert dense is not None
    graph = trace(tiny_model())
    assert dense.measurement.macs == {length: graph.cost(seconds=length).macs for length in (0.2, 0.5, 1.0)}
    assert sum(part.macs for part in dense.sections.values()) == dense.measurement.macs[1.0]
    assert sum(part.params for part in small.sections.values()) == small.measurement.params
    assert small.groups["conv.0"].size == dense.groups["conv.0"].size // 2


def test_every_term_of_the_budget_is_set_against_what_was_reached(made: Report) -> None:
    dense, small = made.data.baseline, made.data.model
    assert dense is not None
    whole, frontend, params = made.data.budget
    assert whole.fraction == small.measurement.macs[1.0] / dense.measurement.macs[1.0]
    assert frontend.term == "frontend.macs=40%"
    assert frontend.achieved == small.sections["frontend"].macs
    assert params.achieved == small.measurement.params


def test_a_model_alone_is_reported_without_comparison(tmp_path: Path) -> None:
    alone = report(tiny_model(), with_latency=False)
    assert alone.data.baseline is None
    assert alone.table().columns == ["", "model"]
    titles = [section.title for section in sections(alone.data)]
    assert titles == ["Summary", "MACs and parameters", "Kept units", "Environment", "Conventions"]
    for suffix in ("json", "md", "html"):
        assert alone.save(tmp_path / f"report.{suffix}").stat().st_size > 1000


def test_a_dense_graph_stands_in_for_a_dense_model_that_is_gone() -> None:
    dense = tiny_model()
    graph = trace(dense)
    small = resize(dense, graph, {"layer.0.ffn": range(4)})
    found = report(small, graph, with_latency=False, facts=RunFacts(budget="macs=50%")).data
    assert found.baseline is not None
    assert found.baseline.measurement.macs[10.0] == graph.cost(seconds=10.0).macs
    assert found.baseline.groups["layer.0.ffn"].size == 24
    assert found.budget[0].fraction == found.model.measurement.macs[10.0] / graph.cost(seconds=10.0).macs


def test_a_budget_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(BudgetError, match="parms=2M"):
        report(tiny_model(), with_latency=False, facts=RunFacts(budget="macs=50%,parms=2M"))


def test_memory_and_latency_are_set_against_what_was_measured() -> None:
    dense = tiny_model()
    small = resize(dense, trace(dense), {"layer.0.ffn": range(4)})
    budget = "memory=80%,dtype=float32,latency=60%@cpu,threads=1,seconds=0.2,latency=9s,seconds=3"
    timing = Timing(seconds=(0.2,), threads=1, min_iterations=3, min_seconds=0.0)
    made = report(small, baseline=dense, timing=timing, facts=RunFacts(budget=budget))
    memory, latency = made.data.budget  # nothing was timed at 3 s, and nothing is said of it
    facts, whole = made.data.model.measurement, made.data.baseline.measurement
    assert (memory.term, latency.term) == (
        "memory=80%,dtype=float32",
        "latency=60%@cpu,threads=1,seconds=0.2",
    )
    assert memory.achieved == facts.size_bytes
    assert memory.fraction == facts.size_bytes / whole.size_bytes
    assert latency.achieved == facts.latency_at(0.2, 1).median_ms
    assert latency.fraction == latency.achieved / whole.latency_at(0.2, 1).median_ms
    page = render.markdown(made.data)
    assert f"{facts.size_bytes / 1e6:.2f} MB" in page
    assert " ms |" in page


@pytest.mark.parametrize(
    ("seconds", "reference"), [((2.0,), 2.0), ((1.0, 5.0, 10.0), 10.0), ((0.5, 3.0), 3.0)]
)
def test_macs_are_counted_at_the_lengths_that_are_timed(seconds, reference):
    dense = tiny_model()
    made = report(dense, baseline=dense, timing=Timing(seconds=seconds), with_latency=False).data
    assert made.reference_seconds == reference
    assert set(made.model.measurement.macs) == set(seconds)
