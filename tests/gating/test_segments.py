"""Sums over segments, their gradients, and a gather whose gradient is summed in order."""

import torch

from prune_ssl.gating.segments import Gather, SumOfSegments, _by_cumulative_sums, segment_sum

OFFSETS = torch.tensor([0, 2, 2, 5])


def test_sums_are_those_of_each_segment_added_in_order() -> None:
    values = torch.randn(5)
    wanted = torch.zeros(3).index_add(0, torch.tensor([0, 0, 2, 2, 2]), values)
    assert torch.equal(segment_sum(values, OFFSETS), wanted)
    torch.testing.assert_close(_by_cumulative_sums(values, OFFSETS), wanted)
    assert segment_sum(torch.zeros(0), torch.zeros(3, dtype=torch.long)).tolist() == [0, 0]


def test_each_entry_gets_the_gradient_of_its_sum() -> None:
    values = torch.randn(5, requires_grad=True)
    sums = SumOfSegments.apply(values, OFFSETS, torch.tensor([0, 0, 2, 2, 2]))
    (sums * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [1, 1, 3, 3, 3]


def test_a_gather_sums_the_gradient_of_each_unit() -> None:
    values, index = torch.randn(3, requires_grad=True), torch.tensor([2, 0, 2, 2])
    found = Gather.apply(values, index, index.argsort(stable=True), torch.tensor([0, 1, 1, 4]))
    assert torch.equal(found, values[index])
    (found * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [2, 0, 8]
