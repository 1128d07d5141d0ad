"""The search for the smallest model within a drop: its law on monotone curves, and one real search."""

from math import ceil, inf, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.errors import RecipeError
from prune_ssl.recipes import load_recipe
from prune_ssl.sweeping import Search, find_smallest, trials
from prune_ssl.sweeping.finding import bisect


@given(st.lists(st.floats(-5, 50) | st.just(inf), min_size=1, max_size=200), st.floats(0, 50))
def test_bisection_finds_the_smallest_good_budget_of_a_monotone_curve_in_log2_runs(drops, most):
    curve, asked = sorted(drops, reverse=True), []

    def drop_of(index):
        asked.append(index)
        return curve[index]

    found = bisect(len(curve), drop_of, most)
    good = [index for index, drop in enumerate(curve) if drop <= most]
    assert found.index == (good[0] if good else None)
    assert len(asked) == len(set(asked)) <= ceil(log2(len(curve) + 1))
    assert found.tried == {index: curve[index] for index in asked}


@given(st.lists(st.floats(0, 50), min_size=1, max_size=50), st.floats(0, 50))
def test_bisection_of_any_curve_ends_at_a_good_budget_whose_neighbour_is_bad(curve, most):
    found = bisect(len(curve), lambda index: curve[index], most)
    if found.index is None:
        assert found.tried[len(curve) - 1] > most
    else:
        assert found.tried[found.index] <= most
        assert found.index == 0 or found.tried[found.index - 1] > most


def test_budgets_of_a_search_are_whole_steps_from_the_lower_end():
    search = Search.parse("drop <= 1 points", ["params=80%", "params=20%"], 30)
    assert [search.budget(index) for index in range(search.count)] == [
        "params=20%",
        "params=50%",
        "params=80%",
    ]
    whole = Search.parse("drop<=1", (), 5)
    assert [whole.budget(index) for index in (0, whole.count - 1)] == ["macs=5%", "macs=95%"]
    for ends in (["20%"], ["20%", "params=80%"], ["5M", "10M"]):
        with pytest.raises(RecipeError, match="is no range"):
            Search.parse("drop<=1", ends)
    with pytest.raises(RecipeError, match="found the range 20% to 20%"):
        Search.parse("drop<=1", ["20%", "20%"])


@pytest.mark.slow
def test_a_real_search_finds_a_model_and_says_it_on_the_page(recipe, tmp_path):
    said, out = [], tmp_path / "sweep"
    search = Search.parse("drop<=100", ["1%", "81%"], 20)  # every model is good that exists at all
    points = find_smallest(load_recipe(recipe), search, trials(["81%"], ["gates"], [0]), out, said.append)
    assert [point.budget for point in points] == ["macs=21%"]
    answer = "gates: the smallest model with a drop of at most 100 has macs=21%"
    assert any(line.startswith(answer) and "macs=1% is out of reach" in line for line in said), said
    assert answer in (out / "pareto.html").read_text()
    assert len(list(out.glob("*/report.json"))) <= ceil(log2(search.count + 1))
    again = []
    find_smallest(load_recipe(recipe), search, trials(["81%"], ["gates"], [0]), out, again.append)
    assert not any("Pruning to" in line and "21" in line for line in again)
