"""Losses between outputs against their formulas written out in numpy."""

import numpy as np
import pytest
import torch

from prune_ssl import distillation as D
from tests.support.losses import (
    B,
    T,
    assert_equals,
    cos,
    kl,
    masks,
    numbers,
    over_utterances,
    random,
    softmax,
)


@pytest.mark.parametrize("tau", [1.0, 2.5])
def test_losses_on_predictions_are_their_formulas(tau):
    s, t = random(B, T, 6), random(B, T, 6)
    a, b = numbers(s, t)

    def one(i, j):
        return tau**2 * kl(softmax(b[i, j] / tau), softmax(a[i, j] / tau))

    assert_equals(D.logits_kl(s[:, 0], t[:, 0], tau), np.mean([one(i, 0) for i in range(B)]))
    assert_equals(D.logits_kl(s[:, 0], t[:, 0], tau, [6]), np.mean([one(i, 0) for i in range(B)]))

    def grouped(i):
        parts = [(a[i, 0, part], b[i, 0, part]) for part in (slice(0, 2), slice(2, 5))]
        return tau**2 * sum(kl(softmax(y / tau), softmax(x / tau)) for x, y in parts)

    assert_equals(D.logits_kl(s[:, 0], t[:, 0], tau, [2, 3]), np.mean([grouped(i) for i in range(B)]))
    frames = over_utterances(lambda i, n: np.mean([one(i, j) for j in range(n)]))
    assert_equals(D.frame_logits_kl(s, t, masks(), tau), frames)
    assert_equals(
        D.embedding_cosine(s[:, 0], t[:, 0]), np.mean([1 - cos(a[i, 0], b[i, 0]) for i in range(B)])
    )


@pytest.mark.parametrize("name", ["logits", "embedding"])
def test_gradients_of_clip_level_losses(name):
    loss = {"logits": lambda s, t: D.logits_kl(s, t, 2.0), "embedding": D.embedding_cosine}[name]
    teacher = random(3, 6)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), random(3, 6, grad=True))
