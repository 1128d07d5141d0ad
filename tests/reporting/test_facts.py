"""What a report is told beside the models: all of it may be left out, and shows where it was given."""

import dataclasses

import pytest

from prune_ssl.reporting import RunFacts, report
from prune_ssl.selection import parse_budget
from prune_ssl.tracing import Traced
from tests.support.models import tiny_model

MODEL = Traced.of(tiny_model(), "report")


def test_every_fact_may_be_left_out() -> None:
    facts = RunFacts()
    assert facts.title == "Pruning report"
    assert facts == RunFacts(history=(), settings={})
    assert all(field.kw_only for field in dataclasses.fields(RunFacts))
    with pytest.raises(dataclasses.FrozenInstanceError):
        facts.title = "x"  # type: ignore[misc]
    data = report(MODEL, with_latency=False, facts=facts).data
    assert (data.title, data.budget) == ("Pruning report", [])


def test_facts_reach_the_report() -> None:
    facts = RunFacts(
        title="Mine",
        budget=parse_budget("params=100%"),
        history=iter([{"step": 1, "loss": 2.0}]),
        settings={"seed": 3},
        reference_seconds=2.0,
    )
    data = report(MODEL, MODEL, with_latency=False, facts=facts).data
    assert data.title == "Mine"
    assert data.reference_seconds == 2.0
    assert data.settings == {"seed": "3"}
    assert [entry.step for entry in data.history] == [1]
    (term,) = data.budget
    assert term.term == "params=100%"
    assert term.fraction == 1.0


def test_a_budget_may_be_given_as_text_too() -> None:
    found = [
        report(MODEL, MODEL, with_latency=False, facts=RunFacts(budget=budget)).data.budget
        for budget in ("macs=100%,params=100%", parse_budget("macs=100%,params=100%"))
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 2
