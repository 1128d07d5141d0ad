"""A mixture of a layer's input and output has the values and gradients of torch's own."""

import torch

from prune_ssl.gating.mixing import mix


def test_values_and_gradients_are_those_of_lerp() -> None:
    torch.manual_seed(0)
    answers = []
    given = [torch.randn(2, 3).double(), torch.randn(2, 3).double(), torch.tensor([0.3]).double()]
    for function in (mix, torch.lerp):
        leaves = [each.clone().requires_grad_() for each in given]
        mixed = function(*leaves)
        mixed.square().sum().backward()
        answers.append([mixed.detach(), *(each.grad for each in leaves)])
    for own, wanted in zip(*answers, strict=True):
        torch.testing.assert_close(own, wanted)
