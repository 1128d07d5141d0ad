"""The bytes of exported files: the dense file exactly, cut files never below what was counted."""

import pytest

from prune_ssl import resize, select, trace, with_latency
from prune_ssl.errors import BudgetError
from prune_ssl.profiling.files import exported_file
from prune_ssl.runtimes.opening import open_model
from prune_ssl.selection import allowed_widths, resolve
from tests.support.exporting import needs_onnx
from tests.support.models import tiny_model

SHORT = {"conv_dim": (12, 10), "conv_kernel": (10, 8), "conv_stride": (20, 16)}
"""A frontend of two convolutions, so that graphs are small and exported fast."""


@needs_onnx
def test_a_cut_model_is_exported_to_as_many_bytes_as_were_counted():
    model, said = tiny_model(num_hidden_layers=1, intermediate_size=512, **SHORT), []
    graph = trace(model)
    budget = with_latency(model, graph, "memory=93%,runtime=onnx-int8", say=said.append)
    assert said == ["Exporting the model to onnx-int8, for the size of its file"]
    keep = select(model, graph, budget, round_to=1)
    (limit,) = resolve(budget, graph, allowed_widths(graph, 1), 1.0)
    assert limit.dense == open_model(model, "onnx-int8", 0.1).size_bytes
    counted, found = (
        limit.cost.value(graph.widths(keep)),
        open_model(resize(model, graph, keep), "onnx-int8", 0.1),
    )
    assert found.size_bytes <= counted <= limit.maximum
    assert found.size_bytes > 0.95 * counted


def test_without_the_file_a_memory_of_a_runtime_is_refused():
    model = tiny_model()
    with pytest.raises(BudgetError, match="the size of the exported file is not known"):
        select(model, trace(model), "memory=70%,runtime=onnx")
    with pytest.raises(BudgetError, match="opens no exported file"):
        exported_file(model, trace(model), "eager")
