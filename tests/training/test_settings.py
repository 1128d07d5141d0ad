"""What gate training asks beforehand: settings that it does not support, LayerDrop, tables of latency."""

from types import SimpleNamespace

import pytest
from torch import nn

from prune_ssl import PruningConfig, trace
from prune_ssl.errors import PruneError
from prune_ssl.training import settings
from prune_ssl.training.settings import (
    refuse_unsupported,
    restore_layerdrop,
    with_tables,
    without_layerdrop,
)
from tests.support.models import tiny_model

PLAIN = {
    "n_gpu": 1,
    "deepspeed": None,
    "load_best_model_at_end": False,
    "world_size": 1,
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_gpu": 2}, "use torchrun"),
        ({"deepspeed": "zero.json"}, "DeepSpeed"),
        ({"load_best_model_at_end": True}, "load_best_model_at_end"),
    ],
)
def test_settings_under_which_gates_learn_something_else_are_refused(changes, words: str) -> None:
    refuse_unsupported(SimpleNamespace(**PLAIN), None)
    with pytest.raises(PruneError, match=words):
        refuse_unsupported(SimpleNamespace(**(PLAIN | changes)), None)


def test_a_scheduler_of_ones_own_is_refused() -> None:
    with pytest.raises(PruneError, match="lr_scheduler_type"):
        refuse_unsupported(SimpleNamespace(**PLAIN), object())


def test_processes_that_know_nothing_of_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(PruneError, match=r"2 processes .*ddp_backend='gloo'"):
        refuse_unsupported(SimpleNamespace(**PLAIN), None)
    refuse_unsupported(SimpleNamespace(**(PLAIN | {"world_size": 2})), None)


def test_layerdrop_is_off_and_comes_back() -> None:
    model = tiny_model(layerdrop=0.3)
    before = without_layerdrop(model)
    assert (before, model.config.layerdrop) == (0.3, 0.0)
    restore_layerdrop(model, before)
    assert model.config.layerdrop == 0.3


def test_a_model_without_layerdrop_stays_as_it_is() -> None:
    model = nn.Linear(2, 2)
    assert without_layerdrop(model) is None
    restore_layerdrop(model, None)


def test_every_budget_of_a_config_gets_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measured(model: nn.Module, graph: object, budget: object, seconds: float) -> object:
        asked.append((str(budget), seconds))
        return budget

    monkeypatch.setattr(settings, "with_latency", measured)
    model = tiny_model()
    config = PruningConfig(budget="macs=40%", milestones=("macs=80%", "macs=60%"), seconds=3.0, steps=9)
    found = with_tables(config, model, trace(model))
    assert [budget for budget, _ in asked] == ["macs=40%", "macs=80%", "macs=60%"]
    assert {seconds for _, seconds in asked} == {3.0}
    assert (found.budget, found.milestones, found.steps) == (config.budget, config.milestones, 9)
