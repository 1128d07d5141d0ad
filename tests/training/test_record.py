"""What a pruning run found out so far."""

import dataclasses

import pytest
from torch import nn

from prune_ssl import trace
from prune_ssl.selection import allowed_widths, parse_budget, resolve
from prune_ssl.training.record import Finished, PruningRecord, budget_text
from tests.support.models import tiny_model

GRAPH = trace(tiny_model())


def test_losses_of_another_log_follow_its_steps() -> None:
    record = PruningRecord(history=[{"phase": "pruning", "step": 3, "loss": 1.0}])
    log = [
        {"step": 2, "loss": 0.5, "epoch": 1.0},
        {"step": 2, "eval_loss": 9.0},
        {"step": 4, "loss": 0.25, "learning_rate": 0.1},
    ]
    record.note_losses(log, "recovery", before=10)
    assert record.history[1:] == [
        {"phase": "recovery", "step": 12, "loss": 0.5},
        {"phase": "recovery", "step": 14, "loss": 0.25, "learning_rate": 0.1},
    ]


def test_records_share_nothing() -> None:
    one, other = PruningRecord(), PruningRecord()
    one.results["dense"] = {"accuracy": 1.0}
    one.warnings.append("x")
    assert (other.results, other.warnings, other.history, other.plan) == ({}, [], [], None)


@pytest.mark.parametrize("text", ["macs=50%", "params=60%,macs=70%", "memory=80%,dtype=float16"])
def test_a_budget_is_written_in_its_grammar(text: str) -> None:
    limits = resolve(text, GRAPH, allowed_widths(GRAPH, 1), 1.0)
    assert parse_budget(budget_text(limits)) == parse_budget(text)
    assert budget_text([]) == ""


def test_a_finished_model_is_the_last_unless_it_is_said() -> None:
    done = Finished("macs=50%", nn.Linear(1, 1), None)
    assert done.last
    assert (done.results, done.limits, done.history, done.warnings) == ({}, (), [], ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        done.budget = "x"  # type: ignore[misc]
