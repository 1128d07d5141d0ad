"""A graph is read as a mapping of its groups, and fits on a line or in a table."""

import copy
import pickle

import pytest

from prune_ssl.errors import KeepError
from prune_ssl.gating import Plan, PruningConfig, attach_gates
from prune_ssl.tracing import trace
from tests.support.models import tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def graph(model):
    return trace(model)


def test_a_graph_is_a_mapping_of_its_groups(graph):
    assert len(graph) == len(graph.groups)
    assert list(graph) == list(graph.groups)
    assert graph["layer.0.ffn"] is graph.groups["layer.0.ffn"]
    assert "layer.0.ffn" in graph
    assert "layer.99.ffn" not in graph


def test_a_group_that_is_not_there_is_named_with_the_nearest_one(graph):
    with pytest.raises(KeepError, match=r"no group 'layers\.0\.ffn'. Did you mean 'layer\.0\.ffn'"):
        graph["layers.0.ffn"]


def test_what_is_shown_fits_on_a_line(graph, model):
    parameters = sum(each.numel() for each in model.parameters())
    assert f"{parameters:,} parameters" in repr(graph)
    plan = Plan({name: tuple(range(group.size)) for name, group in list(graph.groups.items())[:3]})
    gates = attach_gates(copy.deepcopy(model), graph, PruningConfig(budget="macs=50%", seconds=1.0))
    for each in (graph, graph.cost(), plan):
        assert "\n" not in repr(each)
        assert len(repr(each)) < 250
    assert "budget macs=50%" in repr(gates)


def test_a_notebook_shows_every_group_with_the_cost_of_a_unit(graph):
    table = graph._repr_html_()
    assert all(f"<td>{name}</td>" in table for name in graph)
    unit = graph.polynomial("macs", seconds=10.0).marginal("layer.0.ffn", graph.widths())
    assert f"<td>{unit:,}</td>" in table


def test_a_graph_is_still_plain_data(graph):
    for again in (pickle.loads(pickle.dumps(graph)), copy.deepcopy(graph)):
        assert list(again) == list(graph)
        assert again.cost() == graph.cost()
