"""Groups of units: permuting all slices changes nothing, and a keep must fit."""

import pytest
import torch

from prune_ssl.errors import KeepError
from prune_ssl.models import FAMILIES
from prune_ssl.tracing import trace
from tests.support.models import ALL_CASES, CASES, batch, first_output, relative_difference, tiny_model


@pytest.mark.parametrize(("family", "head", "norm"), ALL_CASES[: len(CASES)])
def test_permuting_the_units_of_any_group_changes_nothing(family, head, norm):
    model = tiny_model(family, head, norm).double()
    graph, inputs = trace(model), batch(model)
    wanted = first_output(model, **inputs)
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    for group in graph.groups.values():
        if group.kind == "hidden" and not graph.backbone:
            continue  # the output of a bare model would be permuted with it
        if group.splits:
            continue  # WavLM's residual is bound to the slices that its position gates read
        if group.kind == "heads" and FAMILIES[family].attention.opened:
            continue  # WavLM's heads are bound to their columns of the shared table
        order = torch.randperm(group.size)
        for part in group.slices:
            old, new = torch.from_numpy(part.index), torch.from_numpy(part.index)[order]
            tensor = tensors[part.parameter].data
            tensor.index_copy_(part.dim, old.flatten(), tensor.index_select(part.dim, new.flatten()))
    assert relative_difference(first_output(model, **inputs), wanted) < 1e-9


def test_permuting_one_slice_alone_does_change_the_output():
    model = tiny_model().double()
    graph, audio = trace(model), torch.randn(1, 8000, dtype=torch.float64)
    wanted = first_output(model, audio)
    for name in ("conv.3", "layer.1.heads", "layer.1.ffn"):
        part = graph.groups[name].slices[0]
        parameter = dict(model.named_parameters())[part.parameter]
        parameter.data = parameter.data.flip(part.dim)
    assert relative_difference(first_output(model, audio), wanted) > 1e-6


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"layer.9.heads": [0]}, r"'layer\.9\.heads', which this model does not have. Did you mean"),
        ({"layer.1.heads": [0, 4]}, r"units must be in 0\.\.3, found 0\.\.4"),
        ({"layer.1.heads": [1, 1]}, "a unit is named twice"),
        ({"conv.2": []}, "at least 1 must stay"),
    ],
)
def test_a_keep_that_does_not_fit_is_refused(keep, message):
    with pytest.raises(KeepError, match=message):
        trace(tiny_model()).cost(keep)
