"""A model together with its graph: made once, of one model, handed on."""

import dataclasses

import pytest
from torch import nn

import prune_ssl
from prune_ssl.errors import ModelError
from prune_ssl.tracing import Traced, trace
from tests.support.models import tiny_model


def test_a_model_or_its_folder_is_traced(tmp_path) -> None:
    model = tiny_model()
    folder = prune_ssl.save_pretrained(model, tmp_path / "model")
    found, loaded = Traced.of(model, "measure"), Traced.of(folder, "measure")
    assert found.model is model
    assert type(loaded.model) is type(model)
    assert loaded.graph.cost() == found.graph.cost()


def test_a_pair_that_does_not_belong_together_is_refused() -> None:
    graph = trace(tiny_model())
    with pytest.raises(ModelError, match="is not the one that was traced"):
        Traced(tiny_model(intermediate_size=8), graph)
    with pytest.raises(ModelError, match="Traced"):
        Traced(graph, tiny_model())  # type: ignore[arg-type,type-var]


@pytest.mark.parametrize("given", [None, 3, nn.Linear(2, 2)])
def test_what_cannot_be_traced_is_refused(given: object) -> None:
    with pytest.raises(ModelError):
        Traced.of(given, "measure")  # type: ignore[arg-type]


def test_a_pair_is_frozen() -> None:
    model = tiny_model()
    found = Traced(model, trace(model))
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.model = model  # type: ignore[misc]
