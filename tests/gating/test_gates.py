"""Gates on a model: open ones are the identity, the task's loss reaches each, and none leaves a trace."""

import pytest
import torch

from prune_ssl import PruningConfig, attach_gates, trace
from prune_ssl.errors import BudgetError, GatingError
from prune_ssl.gating import hard_concrete
from tests.support.gating import gated
from tests.support.models import first_output, relative_difference, tiny_model


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_open_gates_are_the_identity(norm):
    model = tiny_model(norm=norm).double()
    audio = torch.randn(2, 8000, dtype=torch.float64)
    wanted = first_output(model, audio)
    gates = gated(model)
    gates.hold({})
    assert relative_difference(first_output(model, audio), wanted) < 1e-9


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


def test_gates_that_do_not_know_their_steps_say_so():
    gates = gated(tiny_model(), PruningConfig(budget="macs=50%"))
    with pytest.raises(BudgetError, match=r"give PruningConfig\(steps="):
        gates.penalty(0)


def test_gates_that_start_in_an_order_keep_it_whenever_steps_are_planned():
    gates = gated(tiny_model())
    scores = {name: torch.rand(group.size) for name, group in gates.groups.items()}
    gates.start_in_order(scores)
    for steps in (100, 5_000):
        gates.plan_steps(steps)
        start = gates.log_alpha.detach()
        assert torch.equal(start, gates.first())
        assert float(start.abs().max()) <= hard_concrete.CLAMP + 1e-6
        assert gates.lagrangian.start == gates.expected().tolist()
        for name, span in gates.spans.items():
            found = start[span]
            assert bool((found[scores[name].argsort()].diff() >= 0).all())
            if gates.groups[name].size > 1:
                assert float(found.max() - found.min()) > 2


def test_an_order_alone_is_nothing_that_gates_have_learned():
    gates = gated(tiny_model())
    gates.start_in_order({name: torch.rand(group.size) for name, group in gates.groups.items()})
    with pytest.raises(GatingError):
        gates.finalize()
