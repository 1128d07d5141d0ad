"""Models that are traced by an example: masked against cut, and what torch counts."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from prune_ssl import PruningConfig, attach_gates, resize
from prune_ssl.selection import KINDS
from prune_ssl.tracing.example import call
from tests.support.models import relative_difference


def output_of(model, inputs):
    """The first tensor that a model gives."""
    with torch.no_grad():
        found = call(model, inputs)
    return found if isinstance(found, torch.Tensor) else found[0]


def held_to_the_law(model, graph, keep, example):
    """The cut model, after it gave what the gated one gives, and not what the dense one gives."""
    inputs = example_noise(example)
    dense = output_of(model, inputs)
    gates = attach_gates(model, graph, PruningConfig(budget="macs=100%", round_to=1, kinds=KINDS)).double()
    gates.hold(keep)
    masked = output_of(model, inputs)
    gates.detach()
    small = resize(model, graph, keep)
    cut = output_of(small, inputs)
    assert relative_difference(cut, masked) < 1e-9
    assert relative_difference(cut, dense) > 1e-6
    return small


def example_noise(example):
    """Noise like an example, for floating point numbers."""
    if isinstance(example, dict):
        return {name: example_noise(each) for name, each in example.items()}
    if isinstance(example, tuple):
        return tuple(map(example_noise, example))
    return torch.randn_like(example) if example.is_floating_point() else example


def counted_macs(model, inputs):
    """Multiply-adds that torch counts."""
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        call(model, inputs)
    return counter.get_total_flops() // 2
