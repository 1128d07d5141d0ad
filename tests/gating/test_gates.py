"""Gates: the distribution, where they act, the penalty's arithmetic, and that they leave no trace."""

import copy
import math

import pytest
import torch

from prune_ssl import PruningConfig, attach_gates, trace
from prune_ssl.errors import BudgetError, ModelError
from prune_ssl.gating import hard_concrete, schedule
from tests.support.models import first_output, relative_difference, tiny_model

CONFIG = PruningConfig(budget="macs=50%", steps=100, round_to=1)


def gated(model, config=CONFIG):
    return attach_gates(model, trace(model), config)


def test_sampled_gates_have_the_closed_form_keep_probability():
    log_alpha = torch.tensor([-4.0, -1.6, 0.0, 2.0])
    draws = torch.stack([hard_concrete.sample(log_alpha) for _ in range(20_000)])
    wanted = torch.sigmoid(log_alpha + 2 / 3 * math.log(11))
    assert torch.allclose(hard_concrete.keep_probability(log_alpha), wanted)
    assert torch.allclose((draws > 0).float().mean(0), wanted, atol=0.015)
    means = torch.stack([draws[:, i][draws[:, i] > 0].mean() for i in range(4)])
    assert torch.allclose(hard_concrete.mean_when_open(log_alpha), means, atol=0.02)


def test_log_alpha_for_inverts_the_keep_probability():
    for probability in (0.6, 0.95, 0.998):
        log_alpha = torch.tensor(hard_concrete.log_alpha_for(probability))
        assert float(hard_concrete.keep_probability(log_alpha)) == pytest.approx(probability)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_open_gates_are_the_identity(norm):
    model = tiny_model(norm=norm).double()
    audio = torch.randn(2, 8000, dtype=torch.float64)
    wanted = first_output(model, audio)
    gates = gated(model)
    gates.hold({})
    assert relative_difference(first_output(model, audio), wanted) < 1e-9


def test_attaching_changes_no_key_and_detaching_leaves_no_trace():
    model = tiny_model(norm="layer")
    keys, classes = list(model.state_dict()), [type(module) for module in model.modules()]
    names = [name for name, _ in model.named_parameters()]
    audio = torch.randn(1, 8000)
    wanted = first_output(model, audio)
    gates = gated(model)
    assert list(model.state_dict()) == keys
    assert [name for name, _ in model.named_parameters()] == names
    assert all(isinstance(module, cls) for module, cls in zip(model.modules(), classes, strict=True))
    assert relative_difference(first_output(model, audio), wanted) > 1e-6
    gates.detach()
    assert [type(module) for module in model.modules()] == classes
    assert all("prune_ssl_gate" not in vars(module) for module in model.modules())
    assert not model.hubert._forward_pre_hooks
    assert torch.equal(first_output(model, audio), wanted)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_the_task_loss_reaches_every_gate(norm):
    model = tiny_model(norm=norm).train()
    gates = gated(model)
    with torch.no_grad():
        gates.log_alpha.zero_()  # P(0 < z < 1) is large here, so that most samples have a gradient
    total = torch.zeros_like(gates.log_alpha)
    for _ in range(60):
        gates.log_alpha.grad = None
        model(torch.randn(2, 8000), labels=torch.tensor([0, 1])).loss.backward()
        total += gates.log_alpha.grad.abs()
    assert bool((total > 0).all())


def test_a_new_sample_is_drawn_each_training_forward_and_none_in_evaluation():
    model = tiny_model().train()
    gates = gated(model)
    audio = torch.randn(1, 8000)
    model(audio)
    first = gates.values("conv.3").clone()
    model(audio)
    assert not torch.equal(gates.values("conv.3"), first)
    model.eval()
    assert torch.equal(first_output(model, audio), first_output(model, audio))


def test_gradient_checkpointing_gives_the_same_gradients():
    grads = []
    for checkpointing in (False, True):
        torch.manual_seed(1)
        model = tiny_model(
            hidden_dropout=0.0, activation_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0
        )
        model.train()
        gates = gated(model)
        if checkpointing:
            model.activation_checkpointing_enable()
        torch.manual_seed(2)
        model(torch.randn(2, 8000), labels=torch.tensor([0, 1])).loss.backward()
        grads.append(gates.log_alpha.grad)
    assert torch.allclose(grads[0], grads[1], atol=1e-7)
    assert float(grads[0].abs().sum()) > 0


def test_the_deterministic_mask_keeps_the_expected_number_of_units():
    model = tiny_model()
    gates = gated(model)
    with torch.no_grad():
        gates.log_alpha.normal_(0, 3)
    mask, widths = gates.deterministic(), gates.expected_widths()
    for name, span in gates.spans.items():
        assert int((mask[span] > 0).sum()) == max(
            round(float(widths[name].detach())), gates.groups[name].minimum
        )


def test_the_penalty_is_the_augmented_lagrangian():
    model = tiny_model()
    gates = gated(model)
    with torch.no_grad():
        gates.multipliers.copy_(torch.tensor([[2.0, 3.0]]))
    violation = float(gates.expected().detach()[0]) - gates.lagrangian.target(40)[0]
    wanted = math.sqrt(len(gates.log_alpha)) * (2 * violation + 3 * violation**2)
    assert float(gates.penalty(40).detach()) == pytest.approx(wanted, rel=1e-4)


def test_the_expected_cost_of_certain_gates_is_the_exact_cost():
    model = tiny_model().double()
    gates = gated(model).double()
    keep = {"conv.2": range(4), "layer.0.heads": [1], "layer.2.ffn": []}
    with torch.no_grad():
        gates.log_alpha.fill_(40)
        for name, units in keep.items():
            closed = [unit for unit in range(gates.groups[name].size) if unit not in units]
            gates.log_alpha[gates.spans[name]] = gates.log_alpha[gates.spans[name]].index_fill(
                0, torch.tensor(closed), -40.0
            )
    wanted = gates.graph.cost(keep).macs / gates.graph.cost().macs
    assert float(gates.expected().detach()[0]) == pytest.approx(wanted, rel=1e-9)


def test_multipliers_rise_while_the_budget_is_exceeded():
    model = tiny_model()
    gates = gated(model, PruningConfig(budget="macs=50%", steps=10, warmup=0.0))
    optimizer = torch.optim.AdamW(gates.parameter_groups())
    gates.penalty(5).backward()
    optimizer.step()
    assert float(gates.multipliers.detach()[0, 0]) > 0
    assert float(gates.multipliers.detach()[0, 1]) > schedule.INITIAL_LAMBDA_2


def test_gate_training_alone_reaches_the_target_in_a_short_run():
    model = tiny_model()
    for steps in (60, 300):
        gates = attach_gates(model, trace(model), PruningConfig(budget="macs=50%", steps=steps, round_to=1))
        gates.detach()
        optimizer = torch.optim.AdamW(gates.parameter_groups())
        for step in range(steps):
            optimizer.zero_grad()
            gates.penalty(step).backward()
            optimizer.step()
            gates.clamp_()
        assert float(gates.expected().detach()[0]) == pytest.approx(0.5, abs=0.01)


def test_rates_follow_from_the_number_of_steps():
    assert schedule.gate_learning_rate(50_000) == 0.02
    assert schedule.gate_learning_rate(400) == pytest.approx(0.08)
    assert schedule.initial_keep(100) == 0.95
    assert schedule.initial_keep(50_000) == 0.99
    assert 0.95 < schedule.initial_keep(1500) < 0.99
    assert [schedule.ramp(step, 100, 0.5, 0.9, 0.4) for step in (0, 25, 50, 99)] == pytest.approx(
        [0.9, 0.65, 0.4, 0.4]
    )


def test_gates_that_do_not_know_their_steps_say_so():
    gates = gated(tiny_model(), PruningConfig(budget="macs=50%"))
    with pytest.raises(BudgetError, match=r"give PruningConfig\(steps="):
        gates.penalty(0)


def test_attaching_twice_or_tracing_a_gated_model_is_refused():
    model = tiny_model()
    graph = trace(model)
    attach_gates(model, graph, CONFIG)
    with pytest.raises(ModelError, match="attached to this model already"):
        attach_gates(model, graph, CONFIG)
    with pytest.raises(ModelError, match=r"call gates\.detach\(\) before tracing"):
        trace(model)


def test_a_gated_model_can_be_copied():
    model = tiny_model()
    gates = gated(model)
    gates.hold({"layer.0.ffn": [1, 2]})
    audio = torch.randn(1, 8000)
    assert torch.equal(first_output(copy.deepcopy(model), audio), first_output(model, audio))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": "macs=200%"}, "at most 100"),
        (
            {"budget": "macs=50%", "kinds": ("convs",)},
            r"kinds: found \['convs'\], wanted some of conv, heads, ffn",
        ),
        ({"budget": "macs=50%", "round_to": 0}, "round_to: found 0, wanted 1 or more"),
        ({"budget": "macs=50%", "initial_keep": 0.2}, "initial_keep"),
        ({"budget": "macs=50%", "layout": "torch"}, "wanted one of hetero, stock"),
    ],
)
def test_a_bad_configuration_is_refused_when_made(arguments, message):
    with pytest.raises(BudgetError, match=message):
        PruningConfig(**arguments)


def test_the_scale_of_the_penalty_follows_the_task_and_not_the_scale_of_its_loss():
    pulls, penalties = [], []
    for scale in (1.0, 1000.0):
        torch.manual_seed(4)
        model = tiny_model().train()
        gates = gated(model)
        audio, labels = torch.randn(2, 8000), torch.tensor([0, 1])
        for step in (0, 50):  # the second penalty uses what the first backward pass measured
            penalty = gates.penalty(step)
            (scale * (model(audio, labels=labels).loss + penalty)).backward()
        gates.lagrangian.pull.follow()
        pulls.append(gates.lagrangian.pull.smoothed)
        penalties.append(float(penalty.detach()))
    assert pulls[0] == pytest.approx(pulls[1], rel=1e-4)
    assert penalties[0] == pytest.approx(penalties[1], rel=1e-3)
    expected = gates.expected()
    scale = gates.lagrangian.task_scale(gates.open_counts(), gates.slopes())
    cost_pull = torch.autograd.grad(expected[0], gates.log_alpha)[0].abs().sum()
    assert float(scale[0] * cost_pull) == pytest.approx(pulls[1], rel=1e-4)


@pytest.mark.parametrize("budget", ["frontend.params=60%,encoder.params=60%", "encoder.macs=60%,macs=60%"])
def test_under_budgets_of_sections_the_likeliest_units_are_kept(budget):
    model = tiny_model()
    gates = attach_gates(model, trace(model), PruningConfig(budget=budget, round_to=1, steps=10))
    with torch.no_grad():
        for span in gates.spans.values():
            gates.log_alpha[span] = torch.linspace(
                -2, 2, span.stop - span.start
            )  # the last are the likeliest
    keep = gates.finalize().keep
    assert {gates.groups[name].kind for name in keep} == {"conv", "heads", "ffn"}
    for name, units in keep.items():
        assert units == tuple(range(gates.groups[name].size - len(units), gates.groups[name].size))
