"""What remains of emptied parts computes what the part would with nothing in it."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from prune_ssl.models.empty import (
    BiasAttention,
    BiasOnly,
    EmptyConvolution,
    NoMap,
    Nothing,
    RemovedLayer,
    removed_layer_of,
)

EAGER, FUSED = SimpleNamespace(_attn_implementation="eager"), SimpleNamespace(_attn_implementation="sdpa")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_linear_without_inputs_gives_its_bias(bias: bool, training: bool) -> None:
    linear = nn.Linear(3, 4, bias=bias)
    left = BiasOnly(4, bias).train(training)
    if bias:
        left.bias.data = linear.bias.data.clone()
    given = torch.randn(2, 5, 3, requires_grad=True)
    found = left(given)
    wanted = nn.functional.linear(torch.zeros_like(given), linear.weight, linear.bias)
    assert torch.equal(found, wanted)
    assert found.requires_grad == (training or bias)
    if training:
        found.sum().backward()
        assert not given.grad.any()


def test_the_bias_stands_under_the_key_of_the_linear() -> None:
    assert list(BiasOnly(4).state_dict()) == ["bias"]
    assert list(BiasOnly(4, bias=False).state_dict()) == []
    half = BiasOnly(4)(torch.zeros(1, 3, dtype=torch.float16))
    assert half.dtype == torch.float16


def test_the_output_is_no_view_of_the_bias() -> None:
    left = BiasOnly(2)
    left(torch.zeros(3, 1)).detach().fill_(7)
    assert not left.bias.any()


def test_nothing_has_width_zero_and_a_linear_can_read_it() -> None:
    found = Nothing()(torch.randn(2, 3, 5))
    assert found.shape == (2, 3, 0)
    assert nn.functional.linear(found, torch.zeros(4, 0)).shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("config", "always", "recorded"),
    [(EAGER, False, True), (FUSED, False, False), (FUSED, True, True), (None, False, False)],
)
def test_a_missing_map_is_recorded_where_other_layers_record_theirs(config, always, recorded: bool) -> None:
    assert (NoMap(config, always)() is None) == recorded


def test_an_attention_without_heads_gives_its_output_bias() -> None:
    left = BiasOnly(3)
    nn.init.normal_(left.bias)
    block = BiasAttention("out_proj", left, EAGER)
    found, weights = block(torch.randn(2, 4, 3), attention_mask=None)
    assert torch.equal(found, left.bias.expand(2, 4, 3))
    assert weights is None
    assert list(block.state_dict()) == ["out_proj.bias"]
    assert block.num_heads == 0


def test_an_empty_convolution_module_gives_zeros() -> None:
    given = torch.randn(2, 3, 4)
    assert torch.equal(EmptyConvolution()(given), torch.zeros_like(given))


class Layer(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, size)


def test_a_removed_layer_passes_its_input_on_and_is_of_the_stock_class() -> None:
    cls = removed_layer_of(Layer)
    assert removed_layer_of(Layer) is cls
    layer = cls(EAGER)
    assert isinstance(layer, (Layer, RemovedLayer))
    assert isinstance(layer, Layer)
    assert list(layer.parameters()) == []
    given = torch.randn(1, 2, 3)
    assert layer(given, attention_mask=None) is given


def test_a_removed_layer_hands_the_shared_position_bias_on() -> None:
    layer = RemovedLayer(EAGER, hands_on_bias=True)
    given, bias = torch.randn(1, 2, 3), torch.randn(1)
    assert layer(given, position_bias=bias)[1] is bias
    assert layer(given) == (given, None)
    maker = nn.Module()
    maker.compute_bias = lambda frames: torch.full((1,), float(frames))
    layer.add_module("attention", maker)
    assert layer(given)[1].item() == 2.0
    assert layer(given, position_bias=bias)[1] is bias
