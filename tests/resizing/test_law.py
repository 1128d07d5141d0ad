"""The law masked = cut, tried on a copy: groups that hold it pass, groups that break it say why."""

import dataclasses

import numpy as np
import pytest
import torch

from prune_ssl.models import FAMILIES
from prune_ssl.resizing.law import broken_groups
from prune_ssl.tracing import trace
from tests.support.models import tiny_model


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_no_group_of_a_known_model_breaks_it(family: str) -> None:
    model = tiny_model(family, "Model", num_hidden_layers=2)
    graph = trace(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random, hooks = torch.random.get_rng_state(), [len(each._forward_hooks) for each in model.modules()]
    assert broken_groups(model, graph, FAMILIES[family]) == {}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert [len(each._forward_hooks) for each in model.modules()] == hooks


def crossed(graph, name: str):
    """The graph with the slices of one group's consumer in another order: units no longer belong together."""
    group = graph.groups[name]
    slices = tuple(
        dataclasses.replace(part, index=np.flip(part.index, 0).copy()) if part.role == "consumer" else part
        for part in group.slices
    )
    return dataclasses.replace(graph, groups=graph.groups | {name: dataclasses.replace(group, slices=slices)})


@pytest.mark.parametrize("name", ["layer.0.ffn", "conv.2"])
def test_a_group_that_reads_other_units_is_found_and_no_other(name: str) -> None:
    model = tiny_model("hubert", "Model", num_hidden_layers=2)
    broken = broken_groups(model, crossed(trace(model), name), FAMILIES["hubert"])
    assert set(broken) == {name}
    assert broken[name].startswith("masked and cut differ by")


def test_a_model_that_does_not_run_has_a_reason_for_every_group() -> None:
    model = tiny_model("hubert", "Model", num_hidden_layers=1)
    graph = trace(model)

    def refuse(*given: object, **more: object) -> None:
        raise OSError("no disk\nand more")

    model.forward = refuse
    broken = broken_groups(model, graph, FAMILIES["hubert"])
    assert set(broken) == set(graph.groups)
    assert set(broken.values()) == {"the model could not be tried on a copy: OSError: no disk"}
