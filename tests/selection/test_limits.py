"""Bounds: a budget resolved once, and what it admits."""

import pytest

from prune_ssl import PruningConfig, select, trace
from prune_ssl.errors import BudgetError
from prune_ssl.selection import KINDS, allowed_widths, bounds_of, parse_budget, resolve, ties_of
from prune_ssl.selection.choosing import Scoring, choose
from tests.support.models import tiny_model


@pytest.fixture
def tiny():
    model = tiny_model()
    return model, trace(model)


def amounts(limits):
    return tuple((limit.constraint, limit.maximum, limit.dense) for limit in limits)


def test_bounds_are_the_limits_widths_and_ties_of_one_model(tiny):
    _, graph = tiny
    bounds = bounds_of(graph, "macs=70%", 4, KINDS, "stock", 1.0)
    assert bounds.widths == allowed_widths(graph, 4, KINDS, "stock")
    assert amounts(bounds.limits) == amounts(resolve("macs=70%", graph, bounds.widths, 1.0))
    assert bounds.ties == ties_of(graph, "stock")
    assert bounds.budget == parse_budget("macs=70%")


def test_text_parsed_constraints_and_a_config_give_the_same_bounds(tiny):
    _, graph = tiny
    text = "macs=60%,params=70%"
    same = (
        bounds_of(graph, text, 2),
        bounds_of(graph, parse_budget(text), 2),
        PruningConfig(budget=text, round_to=2).bounds(graph),
        PruningConfig(budget="macs=90%", round_to=2).bounds(graph, text),
    )
    assert len({amounts(bounds.limits) for bounds in same}) == 1
    assert all(bounds.widths == same[0].widths for bounds in same)


def test_bounds_hold_for_the_cut_model_and_not_for_the_dense_one(tiny):
    model, graph = tiny
    bounds = bounds_of(graph, "macs=60%", 1)
    assert not bounds.hold(graph.widths())
    assert bounds.hold(graph.widths(select(model, graph, "macs=60%", round_to=1)))


def test_another_budget_keeps_the_widths(tiny):
    _, graph = tiny
    bounds = bounds_of(graph, "macs=60%", 1)
    other = bounds.under(parse_budget("macs=80%"), graph, 10.0)
    assert other.widths is bounds.widths
    assert other.limits[0].maximum > bounds.limits[0].maximum
    with pytest.raises(BudgetError, match="Reachable"):
        bounds.under(parse_budget("macs=1%"), graph, 10.0)


def test_a_choice_within_bounds_is_that_of_select(tiny):
    model, graph = tiny
    made = choose(model, graph, bounds_of(graph, "macs=60%", 2), Scoring(isomorphic=True))
    assert made == select(model, graph, "macs=60%", round_to=2, isomorphic=True)


def test_a_misspelt_setting_of_select_is_refused(tiny):
    model, graph = tiny
    with pytest.raises(TypeError, match=r"select\(\) got an unexpected keyword argument 'isomorfic'"):
        select(model, graph, "macs=60%", isomorfic=True)
