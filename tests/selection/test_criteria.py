"""Criteria against literal slow versions, their options, and that they leave the model alone."""

import pytest
import torch
from torch.func import functional_call

from prune_ssl import select, trace
from prune_ssl.errors import BudgetError
from prune_ssl.selection import CRITERIA, allowed_widths, bounds_of, resolve, score_units, unit_prices
from prune_ssl.selection.choosing import uniform_widths
from prune_ssl.selection.criteria import compared
from tests.support.models import tiny_model

NEEDS_DATA = [name for name, criterion in CRITERIA.items() if criterion.needs != "weights"]


@pytest.fixture(params=["group", "layer"])
def model(request):
    return tiny_model(norm=request.param).double()


@pytest.fixture
def batches():
    return [
        {"input_values": torch.randn(2, 4000, dtype=torch.float64), "labels": torch.tensor([0, 3])},
        {"input_values": torch.randn(2, 4800, dtype=torch.float64), "labels": torch.tensor([4, 1])},
        {"input_values": torch.randn(1, 4000, dtype=torch.float64), "labels": torch.tensor([2])},
    ]


SOME = ("conv.0", "conv.6", "layer.1.heads", "layer.2.ffn")


def test_taylor_is_the_derivative_of_the_loss_when_all_slices_of_a_unit_shrink_together(model, batches):
    graph = trace(model)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    found = score_units(model, graph, "taylor", batches)
    for name in SOME:
        group = graph.groups[name]
        for unit in (0, group.size - 1):
            slopes = []
            for batch in batches:
                scale = torch.ones((), dtype=torch.float64, requires_grad=True)
                scaled = dict(parameters)
                for part in group.slices:
                    value = scaled[part.parameter].clone()
                    rows = torch.from_numpy(part.index[unit])
                    factors = torch.ones(value.shape[part.dim], dtype=torch.float64)
                    factors = factors.index_put((rows,), scale.expand(len(rows)))
                    shape = [1] * value.dim()
                    shape[part.dim] = -1
                    scaled[part.parameter] = value * factors.view(shape)
                loss = functional_call(model, scaled, kwargs=batch).loss
                slopes.append(float(torch.autograd.grad(loss, scale)[0].abs()))
            assert float(found[name][unit]) == pytest.approx(sum(slopes) / 3, rel=1e-6, abs=1e-12)


def test_fisher_is_half_the_sum_of_squared_weights_times_mean_squared_gradients(model, batches):
    graph = trace(model)
    parameters = dict(model.named_parameters())
    squares = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for batch in batches:
        model.zero_grad()
        model(**batch).loss.backward()
        for name, parameter in parameters.items():
            if parameter.grad is not None:
                squares[name] += parameter.grad**2 / len(batches)
    model.zero_grad()
    found = score_units(model, graph, "fisher", batches)
    for name in SOME:
        group = graph.groups[name]
        for unit in range(group.size):
            wanted = 0.0
            for part in group.slices:
                for entry in part.index[unit]:
                    weight = parameters[part.parameter].detach().select(part.dim, int(entry))
                    wanted += 0.5 * float((weight**2 * squares[part.parameter].select(part.dim, entry)).sum())
            assert float(found[name][unit]) == pytest.approx(wanted, rel=1e-6)


def test_activation_weighs_columns_by_the_size_of_what_they_read(model, batches):
    graph = trace(model)
    seen = {"feature": [], "ffn": []}
    layer = model.hubert.encoder.layers[2].feed_forward
    handles = [
        model.hubert.feature_projection.projection.register_forward_pre_hook(
            lambda _m, args: seen["feature"].append(args[0].reshape(-1, args[0].shape[-1]))
        ),
        layer.output_dense.register_forward_pre_hook(
            lambda _m, args: seen["ffn"].append(args[0].reshape(-1, args[0].shape[-1]))
        ),
    ]
    with torch.no_grad():
        for batch in batches:
            model(**batch)
    for handle in handles:
        handle.remove()
    found = score_units(model, graph, "activation", batches)
    for name, key, weight, weights_of_unit in (
        ("conv.6", "feature", model.hubert.feature_projection.projection.weight, 9 * 8 // 4 + 16),
        ("layer.2.ffn", "ffn", layer.output_dense.weight, 16 + 16),
    ):
        inputs = torch.cat(seen[key])
        scores = torch.zeros(inputs.shape[1], dtype=torch.float64)
        for column in range(inputs.shape[1]):
            size = (inputs[:, column] ** 2).mean() ** 0.5
            for row in range(weight.shape[0]):
                scores[column] += abs(float(weight[row, column].detach())) * size
        ratio = found[name] / (scores / scores.mean())
        assert torch.allclose(ratio, ratio[0].expand_as(ratio), rtol=1e-6)
        if name == "layer.2.ffn":
            assert float(ratio[0]) == pytest.approx(weights_of_unit)


def test_magnitude_is_the_relative_squared_norm_times_the_number_of_weights(model):
    feed_forward = model.hubert.encoder.layers[2].feed_forward
    rows, columns = feed_forward.intermediate_dense.weight, feed_forward.output_dense.weight
    norms = torch.stack([(rows[i] ** 2).sum() + (columns[:, i] ** 2).sum() for i in range(24)]).detach()
    found = score_units(model, trace(model), "magnitude")["layer.2.ffn"]
    assert torch.allclose(found, 32 * norms / norms.mean())


def state(model):
    return {
        "modes": [module.training for module in model.modules()],
        "needs": [p.requires_grad for p in model.parameters()],
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "hooks": [len(module._forward_pre_hooks) for module in model.modules()],
        "values": [value.clone() for value in model.state_dict().values()],
        "random": torch.get_rng_state(),
    }


@pytest.mark.parametrize("criterion", [*NEEDS_DATA, "magnitude", "uniform"])
def test_scoring_leaves_the_model_as_it_was(model, batches, criterion):
    graph = trace(model)
    model.train()
    model.hubert.encoder.layers[0].eval()
    model.classifier.weight.grad = torch.ones_like(model.classifier.weight)
    model.hubert.feature_extractor.conv_layers[0].conv.weight.requires_grad = False
    before = state(model)
    score_units(model, graph, criterion, batches)
    for key, value in state(model).items():
        assert str(value) == str(before[key]), key


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("isomorphic", [False, True])
@pytest.mark.parametrize("normalise", ["cost", "none"])
def test_every_criterion_selects_within_the_budget(model, batches, criterion, isomorphic, normalise):
    graph = trace(model)
    keep = select(
        model,
        graph,
        "macs=60%",
        criterion,
        round_to=1,
        seconds=1.0,
        batches=batches,
        normalise=normalise,
        isomorphic=isomorphic,
    )
    macs = graph.cost(keep, 1.0).macs
    assert 0.9 * 0.6 * graph.cost(seconds=1.0).macs < macs <= 0.6 * graph.cost(seconds=1.0).macs


def test_without_cost_the_least_scores_go_whatever_they_save():
    model = tiny_model()
    graph = trace(model)
    prices = prices_of(graph, "macs=60%")
    scores = {name: torch.rand(group.size) for name, group in graph.groups.items()}
    same = compared(graph, scores, prices, "cost")
    assert all(torch.allclose(same[name], scores[name].double()) for name in scores)
    alone = compared(graph, scores, prices, "none")
    for name, values in scores.items():
        assert torch.allclose(alone[name] / prices[name], values.double())


def prices_of(graph, budget):
    return unit_prices(graph, resolve(budget, graph, allowed_widths(graph, 1), 1.0))


def test_a_unit_is_priced_by_every_limit_that_it_falls_under():
    graph = trace(tiny_model())
    text, dense = "frontend.params=60%,encoder.params=60%", graph.widths()
    prices, limits = prices_of(graph, text), resolve(text, graph, allowed_widths(graph, 1), 1.0)
    for name, group in graph.groups.items():
        less = {**dense, name: group.size - 1}
        saved = [limit.cost.value(dense) - limit.cost.value(less) for limit in limits]
        price = sum(each / limit.dense for each, limit in zip(saved, limits, strict=True))
        assert price > 0
        assert prices[name] == pytest.approx(price)
    alone = prices_of(graph, "frontend.params=60%")
    least = min(price for name, price in alone.items() if graph.groups[name].kind == "conv")
    assert alone["layer.1.ffn"] == alone["layer.2.heads"] == least


@pytest.mark.parametrize("criterion", ["magnitude", "activation", "random"])
def test_blocks_and_layers_do_not_go_before_every_unit(batches, criterion):
    torch.manual_seed(0)
    model = tiny_model(num_hidden_layers=4).double()
    graph = trace(model)
    gone = {"units": 0, "whole": 0}
    for seed in range(6):
        torch.manual_seed(seed)
        keep = select(
            model,
            graph,
            "encoder.params=70%",
            criterion,
            round_to=1,
            kinds=["heads", "ffn", "block", "layer"],
            batches=batches,
        )
        for name, units in keep.items():
            whole = graph.groups[name].kind in ("block", "layer")
            gone["whole" if whole else "units"] += graph.groups[name].size - len(units)
    assert gone["units"] > 0


@pytest.mark.slow
def test_random_takes_units_of_every_kind_alike():
    model = tiny_model()
    graph, kept = trace(model), {"conv": [], "heads": [], "ffn": []}
    for seed in range(20):
        torch.manual_seed(seed)
        widths = graph.widths(select(model, graph, "params=60%", "random", round_to=1))
        for name, group in graph.groups.items():
            if group.kind in kept:
                kept[group.kind].append(widths[name] / group.size)
    shares = [sum(each) / len(each) for each in kept.values()]
    assert max(shares) < 0.95
    assert max(shares) - min(shares) < 0.25


def test_isomorphic_scores_are_ranks_within_a_kind():
    graph = trace(tiny_model())
    prices = prices_of(graph, "macs=60%")
    scores = {name: torch.rand(group.size) for name, group in graph.groups.items()}
    stretched = {
        name: values * (1e6 if graph.groups[name].kind == "ffn" else 1) for name, values in scores.items()
    }
    for normalise in ("cost", "none"):
        ranked = compared(graph, scores, prices, normalise, isomorphic=True)
        again = compared(graph, stretched, prices, normalise, isomorphic=True)
        assert all(torch.equal(ranked[name], again[name]) for name in scores)
    ranks = torch.cat(
        [
            values / prices[name]
            for name, values in compared(graph, scores, prices, "none", isomorphic=True).items()
            if graph.groups[name].kind == "ffn"
        ]
    )
    assert torch.allclose(ranks.sort().values, torch.arange(1, 73).double() / 72)


def test_uniform_cuts_every_group_by_the_same_fraction():
    model = tiny_model(intermediate_size=40, conv_dim=(40,) * 7, hidden_size=32, num_attention_heads=8)
    graph = trace(model)
    bounds = bounds_of(graph, "macs=50%", 4, seconds=1.0)
    widths, found = bounds.widths, uniform_widths(graph, bounds)
    fractions = {found[name] / graph.groups[name].size for name in widths if len(widths[name]) > 1}
    assert max(fractions) - min(fractions) <= 0.2 + 1e-9  # two steps of 4 in 40, the second for what was left
    keep = select(model, graph, "macs=50%", "uniform", round_to=4, seconds=1.0)
    assert graph.widths(keep) == found


@pytest.mark.parametrize("criterion", NEEDS_DATA)
def test_a_criterion_without_its_data_is_refused(criterion):
    model = tiny_model()
    graph = trace(model)
    with pytest.raises(BudgetError, match=f"criterion '{criterion}' looks at .* give batches="):
        select(model, graph, "macs=60%", criterion)
    with pytest.raises(BudgetError, match="calibration batches are empty"):
        select(model, graph, "macs=60%", criterion, batches=[])


def test_a_model_without_a_loss_or_an_unknown_option_is_refused():
    bare = tiny_model(head="Model")
    with pytest.raises(BudgetError, match="HubertModel gives no loss"):
        select(bare, trace(bare), "macs=60%", "taylor", batches=[{"input_values": torch.randn(1, 4000)}])
    model = tiny_model()
    with pytest.raises(BudgetError, match="normalise: found 'size'"):
        select(model, trace(model), "macs=60%", normalise="size")
    with pytest.raises(BudgetError, match="unknown criterion 'luck'; wanted one of magnitude, taylor"):
        select(model, trace(model), "macs=60%", "luck")


@pytest.mark.parametrize("criterion", CRITERIA)
def test_whole_blocks_layers_and_the_residual_width_have_scores_too(model, batches, criterion):
    graph = trace(model)
    scores = score_units(model, graph, criterion, batches)
    for name, group in graph.groups.items():
        assert scores[name].shape == (group.size,)
        assert bool((scores[name] >= 0).all())
        if criterion != "random":
            assert float(scores[name].sum()) > 0, name
    kinds = ("conv", "heads", "ffn", "hidden", "block", "layer")
    keep = select(model, graph, "macs=50%", criterion, 1, kinds, seconds=1.0, batches=batches)
    assert graph.cost(keep, 1.0).macs <= 0.5 * graph.cost(seconds=1.0).macs


def test_taylor_of_a_block_is_the_derivative_when_all_its_parameters_shrink_together(model, batches):
    graph = trace(model)
    group = graph.groups["layer.1.feed_forward"]
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    slopes = []
    for batch in batches:
        scale = torch.ones((), dtype=torch.float64, requires_grad=True)
        scaled = parameters | {path: parameters[path] * scale for path in group.members if path in parameters}
        loss = functional_call(model, scaled, kwargs=batch).loss
        slopes.append(float(torch.autograd.grad(loss, scale)[0].abs()))
    found = score_units(model, graph, "taylor", batches)["layer.1.feed_forward"]
    assert float(found) == pytest.approx(sum(slopes) / 3, rel=1e-6)
