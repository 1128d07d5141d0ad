"""The first invariant: masked equals resized, predicted cost equals counted cost, for any keep."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model

from prune_ssl import Plan, resize, trace
from prune_ssl.errors import ModelError
from tests.support.keeps import ALL, EXTREMES, UNITS, masked_and_resized, random_keep
from tests.support.models import (
    ALL_CASES,
    FORMS,
    ONE_OF_EACH,
    a_head_of,
    batch,
    first_output,
    relative_difference,
    tiny_model,
)


@pytest.mark.parametrize(("family", "head", "norm"), ALL_CASES)
@given(
    seed=st.integers(0, 10_000),
    extreme=st.sampled_from(EXTREMES),
    kinds=st.sampled_from([UNITS, (*UNITS, "block"), ("layer",), ("hidden",), ("head_dim",), ALL]),
    padded=st.booleans(),
    samples=st.integers(6500, 9000),
    heads=st.sampled_from([1, 2, 4]),
    ffn=st.integers(1, 30),
)
@settings(max_examples=3)
def test_masked_equals_resized_and_differs_from_dense(
    family, head, norm, seed, extreme, kinds, padded, samples, heads, ffn
):
    torch.manual_seed(seed)
    model = tiny_model(family, head, norm, num_attention_heads=heads, intermediate_size=ffn).double()
    graph = trace(model)
    keep, inputs = random_keep(graph, seed, extreme, kinds), batch(model, samples, padded)
    masked, resized = masked_and_resized(model, graph, keep, inputs)
    assert relative_difference(masked, resized) < 1e-9
    if any(len(units) < graph.groups[name].size for name, units in keep.items()) and "hidden" not in keep:
        assert relative_difference(masked, first_output(model, **inputs)) > 1e-9


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
@pytest.mark.parametrize("padded", [False, True])
def test_masked_equals_resized_in_single_precision_over_many_keeps(family, padded):
    model = tiny_model(family, "ForCTC")
    graph, worst = trace(model), 0.0
    for seed in range(25):
        inputs = batch(model, 8000 + 13 * seed, padded)
        masked, resized = masked_and_resized(model, graph, random_keep(graph, seed), inputs)
        worst = max(worst, relative_difference(masked, resized))
    assert worst <= 1e-5


@pytest.mark.parametrize("family", [*(family for family, _, _ in ONE_OF_EACH), *FORMS])
def test_every_kind_takes_scales_and_what_was_cut_is_cut_again(family):
    model = tiny_model(family, a_head_of(family)).double()
    for seed in (1, 2):
        graph, inputs = trace(model), batch(model, 8000, seed == 1)
        keep = {name: tuple(units) for name, units in random_keep(graph, seed, "random", ALL).items()}
        draw = np.random.default_rng(seed).uniform
        soft = [name for name in keep if graph.groups[name].kind != "layer"]
        plan = Plan(keep, {name: tuple(draw(0.1, 1, len(keep[name]))) for name in soft})
        masked, resized = masked_and_resized(model, graph, plan, inputs)
        assert relative_difference(masked, resized) < 1e-9
        model = resize(model, graph, plan)
        found, wanted = trace(model).cost(seconds=1.0), graph.cost(keep, seconds=1.0)
        assert (found.params, found.macs) == (wanted.params, wanted.macs)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_scales_of_a_plan_are_folded_exactly(norm):
    model = tiny_model("hubert", "ForCTC", norm).double()
    graph = trace(model)
    keep = {name: tuple(units) for name, units in random_keep(graph, 3).items()}
    scales = {
        name: tuple(np.random.default_rng(5).uniform(0.1, 1, len(units))) for name, units in keep.items()
    }
    masked, resized = masked_and_resized(model, graph, Plan(keep, scales), batch(model, 8000, True))
    assert relative_difference(masked, resized) < 1e-9
    unscaled = first_output(resize(model, graph, keep), **batch(model, 8000, True))
    assert relative_difference(unscaled, resized) > 1e-6


@pytest.mark.parametrize(("family", "head", "norm"), ALL_CASES)
def test_predicted_cost_equals_counted_cost_to_the_unit(family, head, norm):
    model = tiny_model(family, head, norm)
    graph = trace(model)
    for seed, (extreme, kinds) in enumerate((("random", ALL), ("almost nothing", UNITS), ("no blocks", ALL))):
        keep = random_keep(graph, seed, extreme, kinds)
        check_counted(resize(model, graph, keep), graph.cost(keep, seconds=1.0))


def check_counted(model, cost):
    assert sum(parameter.numel() for parameter in model.parameters()) == cost.params
    model.set_attn_implementation("eager")  # the CPU kernel of SDPA has no FLOP rule
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**batch(model, 16_000, rows=1))
    assert counter.get_total_flops() == 2 * cost.macs == cost.flops


@pytest.mark.slow
@pytest.mark.parametrize(("config", "cls"), [(Wav2Vec2Config, Wav2Vec2Model), (HubertConfig, HubertModel)])
def test_predicted_cost_equals_counted_cost_at_full_size(config, cls):
    with torch.device("meta"):
        model = cls(config(attn_implementation="eager")).eval()
    graph = trace(model)
    for seed in range(20):
        keep = random_keep(graph, seed)
        small = resize(model, graph, keep)
        cost = graph.cost(keep, seconds=1.0)
        assert sum(parameter.numel() for parameter in small.parameters()) == cost.params
        small.set_attn_implementation("eager")
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            small(torch.empty(1, 16_000, device="meta"))
        assert counter.get_total_flops() == 2 * cost.macs


def test_cutting_twice_is_cutting_once_by_the_composition():
    model = tiny_model("wav2vec2", "ForCTC").double()
    graph = trace(model)
    first = random_keep(graph, 1)
    once = resize(model, graph, first)
    again = trace(once)
    second = {
        name: range(group.minimum, group.size, 2)
        for name, group in again.groups.items()
        if group.kind in UNITS
    }
    second = {name: list(units) or [0] for name, units in second.items()}
    twice = resize(once, again, second)
    both = {name: [first[name][unit] for unit in second[name]] if name in second else [] for name in first}
    audio = torch.randn(1, 8000, dtype=torch.float64)
    assert (
        relative_difference(first_output(twice, audio), first_output(resize(model, graph, both), audio))
        < 1e-9
    )


def test_resizing_leaves_the_model_alone_and_inplace_gives_the_same():
    model = tiny_model()
    graph = trace(model)
    keep, audio = random_keep(graph, 7), torch.randn(1, 8000)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.hubert.encoder.layers[0].feed_forward.output_dense.weight.requires_grad = False
    small = resize(model, graph, keep)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert type(model).__name__ == "HubertForSequenceClassification"
    if keep["layer.0.ffn"]:
        assert not small.hubert.encoder.layers[0].feed_forward.output_dense.weight.requires_grad
    assert torch.equal(
        first_output(resize(model, graph, keep, inplace=True), audio), first_output(small, audio)
    )


def test_hidden_states_of_a_model_with_empty_blocks_are_all_there():
    model = tiny_model("hubert", "Model")
    graph = trace(model)
    small = resize(model, graph, {"layer.1.heads": [], "layer.1.ffn": []})
    states = [m(torch.randn(1, 8000), output_hidden_states=True).hidden_states for m in (model, small)]
    assert [len(each) for each in states] == [4, 4]


def test_resizing_another_model_than_the_traced_one_is_refused():
    graph = trace(tiny_model())
    with pytest.raises(ModelError, match="not the one that was traced"):
        resize(tiny_model(intermediate_size=32), graph, {})
