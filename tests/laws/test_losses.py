"""Laws of every distillation loss: its gradient, its padding, its least value and its precision."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from prune_ssl import distillation as D
from tests.support.losses import LENGTHS, B, T, masks, random, split_heads


def attention_of(s, t, valid):
    own = [split_heads(half, 2) for half in s.chunk(2, -1)]
    target = [split_heads(half, 1) for half in t.chunk(2, -1)]
    return D.average_attention(*own, *target, valid, 3)


def masking_of(s, t, valid):
    gone = (torch.arange(s.shape[1]) % 2 == 0).expand(s.shape[:2])
    return D.masking_mse(s, t, t + 1, gone, valid)


ALL = {
    **D.HIDDEN_LOSSES,
    "masking": masking_of,
    "layer_gram": lambda s, t, v: D.layer_gram(s, t, v, "sqrt", 3),
    "intra_gram": lambda s, t, v: D.intra_gram(s, s.sin() + s, t, t.sin() + t, v, "sqrt", 3),
    "attention": attention_of,
    "frame_logits": lambda s, t, v: D.frame_logits_kl(s, t, v, 2.0),
}


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_finite_differences(name):
    student, teacher = random(2, 5, 8, grad=True), random(2, 5, 8)
    valid = torch.arange(5) < torch.tensor([5, 3])[:, None]
    assert torch.autograd.gradcheck(lambda s: ALL[name](s, teacher, valid), student)
    loss = ALL[name](student, teacher, valid)
    (3 * loss).backward()
    assert float(student.grad[1, 3:].abs().max()) == 0  # padding teaches nothing
    assert float(student.grad[1, :3].abs().max()) > 0


@pytest.mark.parametrize("name", ALL)
def test_a_padded_batch_has_the_mean_loss_of_its_utterances_alone(name):
    student, teacher = random(B, T, 8), random(B, T, 8)
    alone = [ALL[name](student[i : i + 1, :n], teacher[i : i + 1, :n], None) for i, n in enumerate(LENGTHS)]
    student, teacher = (torch.cat([x, 1e3 * random(B, 4, 8)], 1) for x in (student, teacher))
    valid = torch.arange(T + 4) < torch.tensor(LENGTHS)[:, None]
    assert_allclose(float(ALL[name](student, teacher, valid)), float(torch.stack(alone).mean()), rtol=1e-9)
    assert abs(float(ALL[name](student, teacher, None)) - float(torch.stack(alone).mean())) > 1e-3


@pytest.mark.parametrize("name", [name for name in ALL if name != "masking"])  # its two targets differ
def test_a_loss_of_equals_is_zero_and_its_gradient_too(name):
    state = random(B, T, 8, grad=True)
    if name == "attention":
        loss = D.average_attention(*[split_heads(state, 2)] * 4, masks())
    else:
        loss = ALL[name](state, state.detach().clone(), masks())
    loss.backward()
    loss = loss.detach()
    if name == "log_cosine":  # least where the cosine is 1, but not 0 there
        assert_allclose(float(loss), np.log(1 + np.exp(-1)), rtol=1e-9)
    else:
        assert abs(float(loss)) < 1e-12
    assert float(state.grad.abs().max()) < 1e-9


@pytest.mark.parametrize("name", ALL)
def test_losses_are_float32_inside_autocast(name):
    student, teacher = torch.randn(2, 5, 8, requires_grad=True), torch.randn(2, 5, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        halves = ALL[name](student.bfloat16(), teacher.bfloat16(), None)
        inside = ALL[name](student, teacher, None)
    assert halves.dtype == inside.dtype == torch.float32
    assert_allclose(float(inside.detach()), float(ALL[name](student, teacher, None).detach()), rtol=1e-6)
    inside.backward()
    assert torch.isfinite(student.grad).all()
