"""Plans compose: two cuts one after the other are one cut of the dense model."""

import numpy as np
import pytest

from prune_ssl import Plan, resize, trace
from prune_ssl.errors import KeepError
from tests.support.keeps import ALL, random_keep
from tests.support.models import (
    FORMS,
    ONE_OF_EACH,
    a_head_of,
    batch,
    first_output,
    relative_difference,
    tiny_model,
)


def random_plan(graph, seed):
    """A keep of every kind, with scales where a plan may have them."""
    keep = {name: tuple(units) for name, units in random_keep(graph, seed, "random", ALL).items()}
    draw = np.random.default_rng(seed).uniform
    scaled = [name for name in keep if graph.groups[name].kind != "layer"]
    return Plan(keep, {name: tuple(draw(0.1, 1, len(keep[name]))) for name in scaled})


@pytest.mark.parametrize("family", [*(family for family, _, _ in ONE_OF_EACH), *FORMS])
def test_two_cuts_are_the_cut_of_the_composed_plan(family):
    dense = tiny_model(family, a_head_of(family)).double()
    graph, inputs = trace(dense), batch(dense)
    first = random_plan(graph, 1)
    between = resize(dense, graph, first)
    second = random_plan(trace(between), 2)
    twice = resize(between, trace(between), second)
    once = resize(dense, graph, first.then(second))
    shapes = {name: value.shape for name, value in twice.state_dict().items()}
    assert {name: value.shape for name, value in once.state_dict().items()} == shapes
    assert relative_difference(first_output(once, **inputs), first_output(twice, **inputs)) < 1e-9


def test_what_one_plan_does_not_name_is_as_the_other_says():
    first, second = Plan({"a": (1, 3)}, {"a": (0.5, 2.0)}), Plan({"b": (0,)}, {"b": (3.0,)})
    for one, other in ((first, second), (second, first)):
        assert one.then(other) == Plan({"a": (1, 3), "b": (0,)}, {"a": (0.5, 2.0), "b": (3.0,)})


def test_scales_multiply_over_the_units_that_both_keep():
    first = Plan({"a": (1, 3, 5)}, {"a": (0.5, 2.0, 4.0)})
    assert first.then(Plan({"a": (1, 2)}, {"a": (10.0, 100.0)})) == Plan({"a": (3, 5)}, {"a": (20.0, 400.0)})


def test_a_plan_of_another_model_is_refused():
    with pytest.raises(KeepError, match="a: the second plan keeps unit 2, and the first one leaves 2 units"):
        Plan({"a": (1, 3)}).then(Plan({"a": (2,)}))


def test_a_plan_is_shown_by_its_counts_and_a_malformed_one_as_it_is():
    assert repr(Plan({"a": (0, 3), "b": ()})) == "Plan(a: 2, b: 0)"
    assert repr(Plan({})) == "Plan(everything stays)"
    assert repr(Plan("hidden")) == "Plan('hidden')"
    assert repr(Plan({"a": 3})) == "Plan({'a': 3})"
    assert repr(Plan({"a": np.array(3)})).startswith("Plan({'a': array(3)")


def test_two_plans_together_know_the_sizes_of_the_dense_model_alone():
    first = Plan({"a": (0, 2, 4)}, {}, "hubert", {"a": 5})
    second = Plan({"a": (1,), "b": (0, 1)}, {}, "hubert", {"a": 3, "b": 4})
    assert first.then(second).sizes == {"a": 5, "b": 4}
    assert first.then(second).family == "hubert"
    assert Plan(first.keep).then(second).sizes == {"b": 4}  # a plan of an earlier version knows no sizes
