"""Budgets of memory: bytes of the saved file, for the solver and for gates."""

import pytest
import torch

from prune_ssl import PruningConfig, attach_gates, resize, save_pretrained, select, trace
from prune_ssl.errors import BudgetError
from prune_ssl.selection import allowed_widths, resolve
from tests.support.models import ONE_OF_EACH, tiny_model


@pytest.mark.parametrize(("family", "head", "norm"), ONE_OF_EACH)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_memory_budget_bounds_the_saved_file_and_is_used(tmp_path, family, head, norm, dtype):
    model = tiny_model(family, head, norm)
    graph = trace(model)
    widths = allowed_widths(graph, 1)
    (limit,) = resolve(f"memory=80%,dtype={dtype}", graph, widths, 1.0)
    keep = select(model, graph, f"memory={limit.maximum}B,dtype={dtype}", round_to=1)
    small = resize(model, graph, keep)
    folder = save_pretrained(small, tmp_path / "small", dtype=getattr(torch, dtype))
    size = (folder / "model.safetensors").stat().st_size
    predicted = limit.cost.value(graph.widths(keep))
    assert size <= predicted <= limit.maximum
    assert predicted - size < 40 * len(graph.shapes)  # the header's bound is all that is lost
    assert predicted > 0.9 * limit.maximum


def test_gates_take_a_memory_budget():
    model = tiny_model()
    gates = attach_gates(model, trace(model), PruningConfig(budget="memory=70%", round_to=1, steps=10))
    assert float(gates.expected().detach()[0]) == pytest.approx(gates.lagrangian.start[0])
    gates.penalty(5).backward()
    assert float(gates.log_alpha.grad.abs().sum()) > 0
    plan = gates.finalize(untrained=True)
    assert gates.limits[0].cost.value(gates.graph.widths(plan.keep)) <= gates.limits[0].maximum


def test_an_unreachable_memory_budget_names_bytes():
    model = tiny_model()
    with pytest.raises(BudgetError, match=r"Reachable: [\d,]+ B to [\d,]+ B"):
        select(model, trace(model), "memory=1KB")
