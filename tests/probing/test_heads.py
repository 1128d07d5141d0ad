"""Heads of probes."""

import torch

from prune_ssl.probing.heads import Probe, WeightedSum


def test_the_weighted_sum_is_the_mean_at_the_start_and_pooling_leaves_padding_out() -> None:
    given = torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(WeightedSum(3)(given), given.mean(1))
    head = Probe(3, 4, 6, 7, pooled=True)
    padded = given.clone()
    padded[0, :, 3:] = 99.0
    found = head(padded, torch.tensor([3, 5]))
    assert found.shape == (2, 7)
    torch.testing.assert_close(found[:1], head(given[:1, :, :3], torch.tensor([3])))
    assert Probe(3, 4, 6, 7, pooled=False)(given, torch.tensor([5, 5])).shape == (2, 5, 7)
