"""Settings of pruning that are refused when they are made."""

import pytest

from prune_ssl import PruningConfig
from prune_ssl.errors import BudgetError
from prune_ssl.selection import UNIT_KINDS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": "macs=200%"}, "at most 100"),
        (
            {"budget": "macs=50%", "kinds": ("convs",)},
            r"kinds: found \['convs'\], wanted some of conv, heads, ffn",
        ),
        ({"budget": "macs=50%", "round_to": 0}, "round_to: found 0, wanted 1 or more"),
        ({"budget": "macs=50%", "initial_keep": 0.2}, "initial_keep"),
        ({"budget": "macs=50%", "layout": "torch"}, "wanted one of hetero, stock"),
    ],
)
def test_a_bad_configuration_is_refused_when_made(arguments, message):
    with pytest.raises(BudgetError, match=message):
        PruningConfig(**arguments)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"milestones": ("macs=30%",)}, "must be larger than macs=40%"),
        ({"milestones": ("params=80%",)}, "must constrain the same quantities"),
        ({"milestones": ("macs=3G",)}, "must constrain the same quantities"),
        ({"schedule": "square"}, "schedule: found 'square'"),
        ({"method": "magic"}, "method: found 'magic'"),
        ({"criterion": "luck"}, "criterion: found 'luck'"),
        ({"method": "one_shot", "milestones": ("macs=80%",)}, "they need method 'gates'"),
        ({"rounds": 0}, "rounds: found 0, wanted 1 or more"),
    ],
)
def test_a_wrong_setting_is_refused(more, message):
    with pytest.raises(BudgetError, match=message):
        PruningConfig(budget="macs=40%", **more)


@pytest.mark.parametrize(
    ("settings", "hidden"),
    [
        ({"budget": "macs=19%"}, True),
        ({"budget": "macs=50%,params=12%"}, True),
        ({"budget": "macs=20%"}, False),
        ({"budget": "frontend.params=12%"}, False),  # a low budget of one section only
        ({"budget": "latency=12%"}, False),  # a latency knows no hidden dimensions
        ({"budget": "params=1M"}, False),  # its part is not known before the model is
        ({"budget": "macs=12%", "preset": "hj_pruning"}, False),
        ({"budget": "macs=12%", "method": "one_shot"}, False),
        ({"budget": "macs=12%", "kinds": UNIT_KINDS}, False),
    ],
)
def test_hidden_dimensions_may_go_by_default_at_low_budgets_of_gates(settings, hidden):
    config = PruningConfig(**settings)
    assert config.kinds == ((*UNIT_KINDS, "hidden") if hidden else UNIT_KINDS)
    assert config.without_hidden().kinds == UNIT_KINDS
    assert config.default_kinds == ("kinds" not in settings)


def test_hidden_dimensions_that_were_asked_for_stay():
    config = PruningConfig(budget="macs=50%", kinds=("ffn", "hidden"))
    assert config.without_hidden() is config


def test_the_stock_layout_has_kinds_of_its_own_at_any_budget():
    assert PruningConfig(budget="macs=12%", layout="stock").kinds == ("conv", "ffn")
