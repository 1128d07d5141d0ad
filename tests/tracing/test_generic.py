"""Models of no known family: what the graph justifies is cut exactly, the rest is refused by name."""

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from prune_ssl import PruningConfig, attach_gates, resize, select, trace
from prune_ssl.errors import ModelError, TraceError
from tests.support.keeps import random_keep
from tests.support.models import relative_difference
from tests.support.unknown import Custom


@pytest.fixture
def model():
    made = Custom().double().eval()
    with torch.no_grad():
        for tensor in (*made.parameters(), *made.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
    return made


def test_the_graph_finds_channels_and_neurons_and_names_the_obstacles(model):
    graph = trace(model)
    sizes = {name: group.size for name, group in graph.groups.items()}
    assert sizes == {
        "conv.0": 8,
        "conv.1": 10,
        "conv.2": 6,
        "layer.0.ffn": 24,
        "layer.1.ffn": 24,
        "head.0": 9,
    }
    assert "MultiheadAttention" in graph.not_pruned["encoder.layers.0.self_attn"]
    assert "head.2" in graph.not_pruned
    assert "project" in graph.not_pruned


@pytest.mark.parametrize("seed", range(6))
def test_masked_equals_resized_and_the_cost_is_counted(model, seed):
    graph = trace(model)
    keep = random_keep(graph, seed)
    gates = attach_gates(model, graph, PruningConfig(budget="macs=100%", round_to=1)).double()
    gates.hold(keep)
    audio = torch.randn(2, 4000, dtype=torch.float64)
    with torch.no_grad():
        masked = model(audio)
        gates.detach()
        small = resize(model, graph, keep)
        assert relative_difference(small(audio), masked) < 1e-9
    cost = graph.cost(keep, seconds=0.5)
    assert sum(parameter.numel() for parameter in small.parameters()) == cost.params
    small.requires_grad_()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        small.train()(torch.randn(1, 8000, dtype=torch.float64))  # in training torch takes no fused path
    assert counter.get_total_flops() == 2 * cost.macs


def test_a_budget_is_met(model):
    graph = trace(model)
    keep = select(model, graph, "macs=90%", round_to=1, seconds=0.2)
    assert 0.87 <= graph.cost(keep, 0.2).macs / graph.cost(seconds=0.2).macs <= 0.9


def test_only_and_ignore_narrow_the_groups(model):
    assert set(trace(model, only=["conv.*"]).groups) == {"conv.0", "conv.1", "conv.2"}
    assert set(trace(model, ignore=["conv.*", "head*"]).groups) == {"layer.0.ffn", "layer.1.ffn"}
    with pytest.raises(TraceError, match="no group of units matches"):
        trace(model, only=["heads"])


def test_a_model_that_takes_no_waveform_is_refused():
    with pytest.raises(ModelError, match=r"does not run on a waveform of shape \(1, 16000\)"):
        trace(nn.Sequential(nn.Linear(7, 3), nn.Linear(3, 1)))
