"""Losses between relations of frames: their formulas written out in numpy, and the memory that they take."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from prune_ssl import distillation as D
from tests.support.losses import B, T, assert_equals, literal_attention, literal_gram, masks, numbers, random


@pytest.mark.parametrize(("scale", "power"), [("raw", 0), ("sqrt", 0.5), ("mean", 1)])
@pytest.mark.parametrize("chunk", [3, 128])
def test_the_layer_wise_gram_loss_is_its_formula(scale, power, chunk):
    s, t = random(B, T, 4), random(B, T, 6)
    a, b = numbers(s, t)
    assert_equals(D.layer_gram(s, t, masks(), scale, chunk), literal_gram(a, a, b, b, power))
    assert_equals(D.layer_gram(s, t, None, scale, chunk), literal_gram(a, a, b, b, power, (T,) * B))


@pytest.mark.parametrize(("scale", "power"), [("raw", 0), ("sqrt", 0.5), ("mean", 1)])
@pytest.mark.parametrize("chunk", [3, 128])
def test_the_intra_layer_gram_loss_is_its_formula(scale, power, chunk):
    states = [random(B, T, 4), random(B, T, 4), random(B, T, 6), random(B, T, 6)]
    assert_equals(D.intra_gram(*states, masks(), scale, chunk), literal_gram(*numbers(*states), power))


@pytest.mark.parametrize("chunk", [3, 128])
def test_the_average_attention_loss_is_its_formula(chunk):
    maps = [random(B, 2, T, 4), random(B, 2, T, 4), random(B, 3, T, 5), random(B, 3, T, 5)]
    assert_equals(D.average_attention(*maps, masks(), chunk), literal_attention(*numbers(*maps)))
    assert_equals(D.average_attention(*maps, None, chunk), literal_attention(*numbers(*maps), (T,) * B))


def test_an_intra_layer_loss_teaches_both_ends():
    states = [random(2, 5, 4, grad=True), random(2, 5, 4, grad=True), random(2, 5, 3), random(2, 5, 3)]
    valid = torch.arange(5) < torch.tensor([5, 3])[:, None]
    assert torch.autograd.gradcheck(
        lambda a, b: D.intra_gram(a, b, *states[2:], valid, "mean", 2), states[:2]
    )


class Largest(TorchDispatchMode):
    """Notes the most numbers that any operation gave at once."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        for output in outputs if isinstance(outputs, tuple | list) else [outputs]:
            if isinstance(output, torch.Tensor):
                self.numbers = max(self.numbers, output.numel())
        return outputs


@pytest.mark.parametrize("name", ["layer_gram", "intra_gram", "attention"])
def test_relations_of_frames_never_exist_as_a_whole(name):
    batch, frames, heads, width, chunk = 2, 320, 3, 4, 16
    states = [torch.randn(batch, frames, width, requires_grad=index < 2) for index in range(4)]
    with Largest() as largest:
        if name == "layer_gram":
            D.layer_gram(states[0], states[2], chunk=chunk).backward()
        elif name == "intra_gram":
            D.intra_gram(*states, chunk=chunk).backward()
        else:
            maps = [state.unsqueeze(1).expand(-1, heads, -1, -1) for state in states]
            D.average_attention(*maps, chunk=chunk).backward()
    most = batch * chunk * frames * (heads if name == "attention" else 1)
    assert most <= largest.numbers < 2 * most
    assert largest.numbers < batch * frames * frames / 2
