"""The general head rule: heads of attentions that no family describes are cut exactly, or refused by name."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from prune_ssl import trace
from tests.support.examples import counted_macs, held_to_the_law

FRAMES, WIDTH, HEADS, SIZE = 12, 16, 4, 4


class Attention(nn.Module):
    """Three Linears, heads, one output."""

    def __init__(self, keys=WIDTH, **stated):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, each) for each in (WIDTH, keys, WIDTH))
        self.out = nn.Linear(WIDTH, WIDTH)
        for name, value in stated.items():
            setattr(self, name, value)

    def split(self, each, size=SIZE):
        return each.unflatten(-1, (-1, size)).transpose(1, 2)

    def mix(self, queries, keys, values):
        return functional.scaled_dot_product_attention(queries, keys, values)

    def forward(self, states):
        parts = (self.split(each(states)) for each in (self.query, self.key, self.value))
        return states + self.out(self.mix(*parts).transpose(1, 2).flatten(2))


class OverHeads(Attention):
    """Every head hears of the others."""

    def mix(self, queries, keys, values):
        maps = (queries @ keys.mT / 2).softmax(-1).softmax(1)
        return maps @ values


class Grouped(Attention):
    """Two heads share their keys."""

    def mix(self, queries, keys, values):
        return super().mix(queries, keys.repeat_interleave(2, 1), values)


class Twice(Attention):
    """A third product of activations."""

    def mix(self, queries, keys, values):
        return super().mix(queries, keys, super().mix(keys, queries, values))


def model_of(attention):
    return nn.Sequential(nn.Linear(8, WIDTH), attention, nn.Linear(WIDTH, 3)).double().eval()


EXAMPLE = torch.zeros(1, FRAMES, 8, dtype=torch.float64)


@pytest.mark.parametrize("stated", [{"num_heads": HEADS}, {"head_dim": SIZE}, {"n_head": HEADS, "d_k": SIZE}])
def test_heads_are_cut_exactly_and_their_cost_is_counted(stated):
    model = model_of(Attention(**stated))
    graph = trace(model, example=EXAMPLE)
    assert graph.groups["layer.1.heads"].size == HEADS
    small = held_to_the_law(model, graph, {"layer.1.heads": [1, 3]}, EXAMPLE)
    assert [getattr(small[1], name) for name in stated if name != "d_k" and name != "head_dim"] in ([2], [])
    cost = graph.cost({"layer.1.heads": [1, 3]})
    assert cost.params == sum(parameter.numel() for parameter in small.parameters())
    assert cost.macs == counted_macs(small, EXAMPLE)


@pytest.mark.filterwarnings("ignore:the costs of this model are")
@pytest.mark.parametrize(
    ("attention", "why"),
    [
        (Attention(), "it does not state a number of heads"),
        (Attention(num_heads=3), "it does not state a number of heads that fits"),
        (Attention(num_heads=HEADS, head_dim=2), "it does not state a number of heads that fits"),
        (Grouped(keys=WIDTH // 2, num_heads=HEADS), "its queries, keys and values differ in width"),
        (Twice(num_heads=HEADS), "it does more than the products of queries with keys"),
        (OverHeads(num_heads=HEADS), "masked and cut differ by"),
    ],
)
def test_what_the_rule_does_not_fit_is_refused_by_name(attention, why):
    graph = trace(nn.Sequential(model_of(attention), nn.ReLU(), nn.Linear(3, 2).double()), example=EXAMPLE)
    assert not any(group.kind == "heads" for group in graph.groups.values())
    assert any(why in reason for reason in graph.not_pruned.values()), graph.not_pruned
