"""The task's pull on the gates: measured without the loss's scale, smoothed, and clipped where it jumps."""

import pytest
import torch

from prune_ssl.gating.task_pull import SMOOTHING, SPIKE, TaskPull
from tests.support.gating import gated
from tests.support.models import tiny_model


def passed(pull, gradient, scale=1.0):
    """One backward pass of a loss with this scale, and the next penalty."""
    given = pull.note(scale * gradient)
    pull.note_scale(torch.tensor(scale))
    pull.follow()
    return given


def test_the_first_pull_is_the_l1_norm_and_later_ones_are_smoothed():
    pull = TaskPull()
    passed(pull, torch.tensor([1.0, -2.0, 0.5]))
    assert pull.smoothed == pytest.approx(3.5)
    passed(pull, torch.tensor([1.0, 0.0, 0.0]))
    assert pull.smoothed == pytest.approx(SMOOTHING * 3.5 + (1 - SMOOTHING) * 1.0)


def test_the_scale_of_the_loss_does_not_count():
    plain, scaled = TaskPull(), TaskPull()
    for gradient in torch.randn(5, 8, generator=torch.Generator().manual_seed(0)):
        passed(plain, gradient)
        passed(scaled, gradient, scale=65536.0)
    assert scaled.smoothed == pytest.approx(plain.smoothed)


def test_a_spike_is_scaled_down_to_three_times_the_usual_size():
    pull, usual = TaskPull(), torch.full((4,), 0.25)
    assert torch.equal(passed(pull, usual), usual)
    spike = torch.tensor([100.0, -100.0, 0.0, 0.0])
    given = passed(pull, spike)
    assert float(given.abs().sum()) == pytest.approx(SPIKE)
    assert torch.allclose(given / given[0], spike / spike[0])
    assert pull.smoothed == pytest.approx(SMOOTHING + (1 - SMOOTHING) * SPIKE)


def test_a_gradient_that_is_not_finite_leaves_the_measure_alone():
    pull = TaskPull()
    passed(pull, torch.ones(3))
    passed(pull, torch.tensor([float("inf"), 0.0, 0.0]))
    assert pull.smoothed == pytest.approx(3.0)


def test_without_a_backward_pass_nothing_is_followed():
    pull = TaskPull()
    pull.follow()
    assert pull.smoothed is None


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
