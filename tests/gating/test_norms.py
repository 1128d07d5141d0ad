"""The norm over open channels gives what autograd gives for its formula, and saves less."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prune_ssl.gating.norms import OpenRows, norm_of_open

CHANNELS = 6


def by_autograd(values, weights, scale, shift, eps):
    count = weights.sum().clamp_min(1)
    mean = (values * weights).sum(-1, keepdim=True) / count
    centred = values - mean
    variance = (centred.square() * weights).sum(-1, keepdim=True) / count
    normed = centred * torch.rsqrt(variance + eps)
    return normed if scale is None else normed * scale + shift


@settings(max_examples=30)
@given(
    weights=st.lists(st.sampled_from([0.0, 1.0]), min_size=CHANNELS, max_size=CHANNELS),
    affine=st.booleans(),
)
def test_values_and_gradients_are_those_of_the_formula(weights: list[float], affine: bool) -> None:
    torch.manual_seed(0)
    assume(any(weights))
    opened = torch.tensor(weights) > 0
    given = [torch.randn(2, 3, CHANNELS).double() + 1, torch.tensor(weights).double()]
    given += [torch.randn(CHANNELS).double() for _ in range(2)]
    pull, answers = torch.randn(2, 3, CHANNELS).double() * opened, []
    for norm in (by_rows, by_autograd):
        leaves = [each.clone().requires_grad_() for each in given]
        found = norm(*leaves[:2], *(leaves[2:] if affine else (None, None)), 1e-3)
        (found * pull).sum().backward()
        answers.append([found, *(each.grad for each in leaves[: 4 if affine else 2])])
    for own, wanted in zip(*answers, strict=True):  # closed channels are meaningless
        torch.testing.assert_close(own[..., opened], wanted[..., opened], rtol=1e-9, atol=1e-9)
    assert not answers[0][2][~opened].any(), "a closed gate gets no gradient from a norm"


def by_rows(values, weights, *others):
    return norm_of_open(values, OpenRows(*(row[0] for row in OpenRows.of(weights[None]))), *others)


@pytest.mark.parametrize("rows", [7])
def test_one_tensor_of_the_size_of_the_input_is_saved_for_the_gradient(rows: int) -> None:
    values = torch.randn(rows, CHANNELS, requires_grad=True)
    weights, scale, shift = (torch.ones(CHANNELS, requires_grad=True) for _ in range(3))
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda each: saved.append(each) or each, lambda each: each):
        by_rows(values, weights, scale, shift, 1e-5)
    assert sum(each.numel() == values.numel() for each in saved) == 1
