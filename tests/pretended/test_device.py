"""The pretended device refuses and counts what CUDA would."""

import copy

import pytest
import torch
from torch import nn

from tests.pretended.device import PretendedTensor
from tests.pretended.machine import pretended_machine


def test_values_and_gradients_are_those_of_the_cpu() -> None:
    torch.manual_seed(0)
    model, audio = (
        nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 2)),
        torch.randn(3, 4),
    )
    wanted = model(audio).square().sum()
    wanted.backward()
    there = copy.deepcopy(model)
    first = next(there.parameters())
    with pretended_machine():
        there.to("cuda")
        assert next(there.parameters()) is first, "moving a module keeps its parameters"
        found = there(audio.to("cuda")).square().sum()
        there.zero_grad()
        found.backward()
        gradients = [each.grad.cpu() for each in there.parameters()]
        assert found.device.type == "cuda"
        assert float(found.detach()) == float(wanted.detach())
    assert all(
        torch.equal(*each) for each in zip(gradients, (p.grad for p in model.parameters()), strict=True)
    )


def test_devices_do_not_mix() -> None:
    with pretended_machine():
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        for mix in (
            lambda: there + here,
            lambda: torch.cat([there, here]),
            lambda: there[:2].copy_(here[:2]) + here[:2],
            lambda: here[torch.zeros(2, dtype=torch.long, device="cuda")],
            lambda: torch.rand(2, device="cuda", generator=torch.Generator()),
        ):
            with pytest.raises(RuntimeError, match="device"):
                mix()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert torch.equal((there * torch.tensor(2.0)).cpu(), 2 * here), "a number of the CPU may join"


def test_waits_and_copies_are_counted_with_their_line() -> None:
    with pretended_machine() as device:
        there = torch.arange(3.0, device="cuda")
        counted = device.counted
        counted.clear()
        for act, kind in (
            (lambda: float(there.sum()), "waits"),
            (lambda: there.tolist(), "waits"),
            (lambda: there.nonzero(), "waits"),
            (lambda: there[there > 1], "waits"),
            (lambda: there.cpu(), "waits"),
            (lambda: there[[0, 2]], "copies"),
            (lambda: torch.tensor([1.0], device="cuda"), "copies"),
            (lambda: there[torch.tensor([0])], "copies"),
        ):
            counted.clear()
            act()
            found = getattr(counted, kind)
            assert sum(counted.crossings().values()) == sum(found.values()) == 1
            assert all("pretended/test_device.py:" in line for _, line in found)
        counted.clear()
        (there * 2 + 1).view(3, 1).sum(0)
        assert not counted.crossings()
        assert sum(counted.launches.values()) == 3


def test_the_meta_device_stays_what_it_is() -> None:
    with pretended_machine():
        there = torch.ones(3, device="cuda")
        assert torch.empty_like(there, device="meta").device.type == "meta"
        with torch.device("meta"):
            assert nn.Linear(3, 2)(torch.ones(1, 3)).device.type == "meta"
        assert torch.zeros_like(there).device.type == "cuda"


def test_autocast_casts() -> None:
    with pretended_machine():
        linear = nn.Linear(4, 2).to("cuda")
        with torch.autocast("cuda", dtype=torch.bfloat16):
            low = linear(torch.ones(1, 4, device="cuda"))
            assert low.dtype is torch.bfloat16
            assert nn.functional.layer_norm(low, (2,)).dtype is torch.float32
        assert linear(torch.ones(1, 4, device="cuda")).dtype is torch.float32


def test_nothing_is_pretended_outside() -> None:
    with pretended_machine():
        pass
    assert torch.cuda.device_count() == 0 or torch.cuda.is_available()
    assert not isinstance(torch.ones(1), PretendedTensor)
