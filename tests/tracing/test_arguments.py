"""What people give verbs of a model and its graph: in this order, and of one model."""

import pytest
import torch
from torch import nn

import prune_ssl
from prune_ssl.errors import ModelError
from prune_ssl.tracing import Traced, trace
from prune_ssl.tracing.arguments import as_model_and_graph, check_graph, check_same_model
from tests.support.models import tiny_model

MODEL = tiny_model()
GRAPH = trace(MODEL)


def test_a_model_comes_back_as_it_is_or_loaded(tmp_path) -> None:
    assert as_model_and_graph(MODEL, GRAPH, "select") is MODEL
    folder = prune_ssl.save_pretrained(MODEL, tmp_path / "model")
    loaded = as_model_and_graph(folder, GRAPH, "select")
    assert torch.equal(loaded.classifier.weight, MODEL.classifier.weight)


@pytest.mark.parametrize("graph", [None, MODEL, {}, "macs=50%"])
def test_what_is_no_graph_is_refused(graph: object) -> None:
    with pytest.raises(ModelError, match=r"select: found .*prune_ssl\.trace\(model\)"):
        check_graph(MODEL, graph, "select")


def test_exchanged_arguments_are_refused() -> None:
    with pytest.raises(ModelError, match=r"select: .*select\(model, graph"):
        as_model_and_graph(GRAPH, MODEL, "select")


@pytest.mark.parametrize("other", [tiny_model(intermediate_size=20), tiny_model("hubert", "ForCTC")])
def test_a_graph_of_another_model_is_refused_by_a_parameter(other: nn.Module) -> None:
    with pytest.raises(
        ModelError, match=r"has shape .*parameters differ\). Trace this model again"
    ) as caught:
        check_same_model(other, GRAPH)
    assert "\n" not in str(caught.value)


def test_new_weights_of_the_same_shapes_are_the_same_model() -> None:
    check_same_model(tiny_model(), GRAPH)


def test_a_model_with_its_graph_is_not_traced_again(monkeypatch) -> None:
    given = Traced(MODEL, GRAPH)
    monkeypatch.setattr("prune_ssl.tracing.traced.trace", lambda model: pytest.fail("it was traced"))
    assert Traced.of(given, "measure") is given
