"""Gated modules compute what the cut module computes, and give their class back."""

import copy
from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prune_ssl.gating.modules import (
    GATED,
    FactorLinear,
    SplitLinear,
    gate_of,
    restore_class,
    swap_class,
)
from prune_ssl.gating.wiring import AxisGate, WeightGate, Wiring

UNITS = 6


class Source:
    """Gates that a test sets."""

    def __init__(self, **gates: list[float]) -> None:
        ends = [0, *accumulate(map(len, gates.values()))]
        self.spans = {name: slice(*ends[place : place + 2]) for place, name in enumerate(gates)}
        self.gates = torch.tensor([value for values in gates.values() for value in values]).double()

    def current(self) -> torch.Tensor:
        return self.gates


def wiring(**gates: list[float]) -> Wiring:
    return Wiring(Source(**gates))


def weight_gate(open_units: set[int], width: int = 1, blocks: tuple[float, ...] = ()) -> WeightGate:
    """Each unit owns `width` columns."""
    gates = [float(unit in open_units) for unit in range(UNITS)]
    gate = WeightGate(wiring(g=gates, **{f"b{i}": [value] for i, value in enumerate(blocks)}))
    gate.columns["g"] = torch.arange(UNITS).repeat_interleave(width)
    gate.blocks = [f"b{i}" for i in range(len(blocks))]
    return gate


OPEN = st.sets(st.integers(0, UNITS - 1), min_size=1)


@settings(max_examples=30)
@given(open_units=OPEN, width=st.integers(1, 3), rows=st.sampled_from([1, 50]))
def test_a_gated_linear_is_the_cut_linear(open_units: set[int], width: int, rows: int) -> None:
    linear = nn.Linear(UNITS * width, 4).double()
    kept = [unit * width + place for unit in sorted(open_units) for place in range(width)]
    values = torch.randn(rows, UNITS * width, dtype=torch.float64)  # of few rows the input is scaled instead
    wanted = nn.functional.linear(values[:, kept], linear.weight[:, kept], linear.bias)
    swap_class(linear, weight_gate(open_units, width))
    torch.testing.assert_close(linear(values), wanted, rtol=0, atol=1e-12)


@settings(max_examples=20)
@given(open_units=OPEN)
def test_a_gated_convolution_is_the_cut_one(open_units: set[int]) -> None:
    conv = nn.Conv1d(UNITS, 3, 4, stride=2).double()
    kept = sorted(open_units)
    values = torch.randn(2, UNITS, 20, dtype=torch.float64)
    wanted = nn.functional.conv1d(values[:, kept], conv.weight[:, kept], conv.bias, stride=2)
    swap_class(conv, weight_gate(open_units))
    torch.testing.assert_close(conv(values), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("blocks", [(0.0,), (0.5,), (0.5, 0.5)])
@pytest.mark.parametrize("rows", [1, 50])
def test_a_block_scales_the_whole_output_with_its_bias(blocks: tuple[float, ...], rows: int) -> None:
    linear, values = nn.Linear(UNITS, 4).double(), torch.randn(rows, UNITS, dtype=torch.float64)
    factor = float(torch.tensor(blocks).prod())
    wanted = factor * linear(values)
    swap_class(linear, weight_gate(set(range(UNITS)), blocks=blocks))
    torch.testing.assert_close(linear(values), wanted, rtol=0, atol=1e-12)


@settings(max_examples=20)
@given(open_units=OPEN)
def test_a_gated_norm_takes_its_statistics_over_open_channels(open_units: set[int]) -> None:
    kept = sorted(open_units)
    norm = nn.LayerNorm(UNITS).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    values = torch.randn(3, 5, UNITS, dtype=torch.float64)
    wanted = nn.functional.layer_norm(values[..., kept], (len(kept),), norm.weight[kept], norm.bias[kept])
    source = wiring(g=[float(unit in open_units) for unit in range(UNITS)])
    swap_class(norm, AxisGate(source, "g", None))
    torch.testing.assert_close(norm(values)[..., kept], wanted, rtol=1e-9, atol=1e-9)


def test_a_gated_norm_without_an_open_channel_stays_finite() -> None:
    norm = nn.LayerNorm(UNITS)
    swap_class(norm, AxisGate(wiring(g=[0.0] * UNITS), "g", None))
    assert bool(torch.isfinite(norm(torch.randn(2, UNITS))).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_gated_norm_gives_the_type_of_the_stock_norm(dtype: torch.dtype) -> None:
    norm, values = nn.LayerNorm(UNITS).to(dtype), torch.randn(2, UNITS).to(dtype)
    wanted = norm(values)
    swap_class(norm, AxisGate(wiring(g=[1.0] * UNITS), "g", None))
    found = norm(values)
    assert found.dtype == wanted.dtype
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)


def test_an_entry_may_belong_to_any_unit() -> None:
    gate = AxisGate(wiring(g=[1.0, 0.0]), "g", torch.tensor([1, 0, 0, 1]))
    assert gate.values(torch.device("cpu")).tolist() == [0, 1, 1, 0]
    assert gate.values(torch.device("cpu"), torch.float32).dtype == torch.float32


def test_closed_dimensions_of_a_head_drop_out_of_the_product() -> None:
    query, key = nn.Linear(3, 4).double(), nn.Linear(3, 4).double()
    values, kept = torch.randn(5, 3, dtype=torch.float64), [0, 2]
    wanted = query(values)[:, kept] @ key(values)[:, kept].T
    gate = WeightGate(wiring(d=[1.0, 0.0, 1.0, 0.0]))
    gate.rows["d"] = torch.arange(4)
    swap_class(query, gate, FactorLinear)
    torch.testing.assert_close(query(values) @ key(values).T, wanted, rtol=0, atol=1e-12)


def test_a_linear_that_reads_head_by_head_scales_its_input() -> None:
    linear = nn.Linear(3, 2).double()
    values = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    wanted = linear(values)
    entries = torch.arange(4)[:, None].expand(4, 3)  # of each head and place, its unit
    swap_class(linear, AxisGate(wiring(h=[1.0, 0.0, 1.0, 0.5]), "h", entries), SplitLinear)
    found = linear(values)
    torch.testing.assert_close(found[:, [0, 2]], wanted[:, [0, 2]])
    torch.testing.assert_close(found[:, 1], linear.bias.expand_as(found[:, 1]))


@pytest.mark.parametrize(
    "make", [lambda: nn.Linear(UNITS, 2), lambda: nn.Conv1d(UNITS, 2, 3), lambda: nn.LayerNorm(UNITS)]
)
def test_a_module_gets_its_class_and_keys_back(make) -> None:
    module = make()
    keys, original = list(module.state_dict()), type(module)
    gate = weight_gate({0}) if original is not nn.LayerNorm else AxisGate(wiring(g=[1.0] * UNITS), "g", None)
    assert swap_class(module, gate) is original
    assert type(module) is GATED[original]
    assert gate_of(module) is gate
    assert list(module.state_dict()) == keys
    assert [name for name, _ in module.named_parameters()] == keys
    restore_class(module, original)
    assert type(module) is original
    assert gate_of(module) is None


def test_gradients_reach_gates_and_weights() -> None:
    linear = nn.Linear(UNITS, 2).double()
    gate = weight_gate(set(range(UNITS)))
    gates = gate.wiring.source.gates.requires_grad_(True)
    swap_class(linear, gate)
    linear(torch.randn(3, UNITS, dtype=torch.float64)).square().sum().backward()
    assert bool((gates.grad != 0).all())
    stored = dict(linear.named_parameters())["weight"]
    assert stored.grad is not None


def test_a_copy_has_gates_of_the_same_source() -> None:
    linear = nn.Linear(UNITS, 2).double()
    swap_class(linear, weight_gate({1, 3}))
    values = torch.randn(4, UNITS, dtype=torch.float64)
    assert torch.equal(copy.deepcopy(linear)(values), linear(values))
