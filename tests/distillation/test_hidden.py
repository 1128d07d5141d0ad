"""Losses between states against their formulas written out in numpy."""

import numpy as np
import pytest
import torch

from prune_ssl import distillation as D
from tests.support.losses import FRAME, LENGTHS, B, T, assert_equals, masks, numbers, over_utterances, random


@pytest.mark.parametrize("name", FRAME)
def test_a_hidden_state_loss_is_its_formula(name):
    s, t = random(B, T, 5), random(B, T, 5)
    a, b = numbers(s, t)
    for valid, lengths in ((masks(), LENGTHS), (None, (T,) * B)):
        wanted = over_utterances(
            lambda i, n: np.mean([FRAME[name](a[i, j], b[i, j]) for j in range(n)]), lengths
        )
        assert_equals(D.HIDDEN_LOSSES[name](s, t, valid), wanted)


def test_masking_distillation_is_its_formula():
    s, clean, masked = (random(B, T, 5) for _ in range(3))
    gone = torch.rand(B, T) < 0.5
    a, c, m = numbers(s, clean, masked)

    def one(b, n):
        return np.mean([np.mean((a[b, i] - (c if gone[b, i] else m)[b, i]) ** 2) for i in range(n)])

    assert_equals(D.masking_mse(s, clean, masked, gone, masks()), over_utterances(one))
