"""Half precision, frozen and tied weights, gradient checkpointing, the meta device: cutting still holds."""

import copy

import pytest
import torch

from prune_ssl import PruningConfig, attach_gates, resize, trace
from tests.support.keeps import ALL, masked_and_resized, random_keep
from tests.support.models import batch, first_output, relative_difference, tiny_model

FAMILIES_TRIED = ("hubert", "wavlm", "wav2vec2-bert")


@pytest.mark.parametrize("family", FAMILIES_TRIED)
def test_bf16_weights_are_cut_without_a_change_of_type(family):
    model = tiny_model(family, "ForCTC").to(torch.bfloat16)
    graph = trace(model)
    keep = random_keep(graph, 4)
    small = resize(model, graph, keep)
    assert {parameter.dtype for parameter in small.parameters()} == {torch.bfloat16}
    masked, resized = masked_and_resized(model, graph, keep, batch(model))
    assert relative_difference(masked.float(), resized.float()) < 0.05  # sums are in another order


def test_frozen_parameters_stay_frozen():
    model = tiny_model("wavlm", "ForCTC")
    frozen = ("wavlm.feature_extractor.", "wavlm.encoder.layers.1.")
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not name.startswith(frozen)
    graph = trace(model)
    small = resize(model, graph, random_keep(graph, 2, kinds=ALL[:4]))
    wanted = {name: not name.startswith(frozen) for name, _ in small.named_parameters()}
    assert {name: parameter.requires_grad for name, parameter in small.named_parameters()} == wanted


def test_tied_weights_keep_their_units_and_count_once():
    model = tiny_model("hubert", "ForCTC")
    layers = model.hubert.encoder.layers
    layers[2].feed_forward.intermediate_dense.weight = layers[0].feed_forward.intermediate_dense.weight
    graph = trace(model)
    for name in ("layer.0.ffn", "layer.2.ffn", "layer.0", "hidden"):
        assert name not in graph.groups
        assert "tied" in graph.not_pruned[name]
    assert "layer.1.ffn" in graph.groups
    assert graph.cost().params == sum(parameter.numel() for parameter in model.parameters())
    keep = random_keep(graph, 3, kinds=("conv", "heads", "ffn"))
    masked, resized = masked_and_resized(model, graph, keep, batch(model))
    assert relative_difference(masked, resized) < 1e-5
    small = resize(model, graph, keep)
    assert graph.cost(keep).params == sum(parameter.numel() for parameter in small.parameters())


@pytest.mark.parametrize("family", FAMILIES_TRIED)
def test_gradient_checkpointing_gives_the_same_gradients(family):
    model = tiny_model(family, "ForCTC", hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0)
    graph, inputs = trace(model), batch(model)
    gates = attach_gates(model, graph, PruningConfig(budget="macs=60%", steps=10, kinds=ALL))
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        torch.manual_seed(0)
        gates.log_alpha.grad = None
        held = torch.rand(len(gates.log_alpha)).requires_grad_()
        gates._held = held
        model.train()
        model(**inputs).logits.float().square().mean().backward()
        gradients.append(held.grad.clone())
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("family", FAMILIES_TRIED)
def test_a_model_on_the_meta_device_costs_and_cuts_the_same(family):
    model = tiny_model(family, "ForCTC")
    meta = copy.deepcopy(model).to("meta")
    graph, keep = trace(meta), random_keep(trace(model), 6, kinds=ALL)
    assert graph.cost(keep) == trace(model).cost(keep)
    small = resize(meta, graph, keep)
    assert next(small.parameters()).device.type == "meta"
    wanted = {name: value.shape for name, value in resize(model, trace(model), keep).state_dict().items()}
    assert {name: value.shape for name, value in small.state_dict().items()} == wanted


def test_a_model_pruned_by_every_kind_is_pruned_again():
    for family in FAMILIES_TRIED:
        model = tiny_model(family, "ForCTC").double()
        graph = trace(model)
        once = resize(model, graph, random_keep(graph, 1, kinds=ALL))
        again = trace(once)
        keep = random_keep(again, 2, kinds=ALL)
        masked, resized = masked_and_resized(once, again, keep, batch(once))
        assert relative_difference(masked, resized) < 1e-9
        assert torch.isfinite(first_output(resize(once, again, keep), **batch(once))).all()
