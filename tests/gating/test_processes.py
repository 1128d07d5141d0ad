"""Gradients of gates over processes: alone nothing changes, together each has the mean."""

import pytest
import torch
import torch.distributed as dist

from prune_ssl.gating.processes import mean_over_processes


def test_one_process_keeps_its_gradient() -> None:
    gradient = torch.randn(3)
    assert mean_over_processes(gradient) is gradient


def test_the_mean_is_taken_of_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    others = torch.tensor([1.0, 2.0, 3.0])
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda total: total.add_(others))
    gradient = torch.tensor([3.0, 2.0, -3.0])
    assert mean_over_processes(gradient).tolist() == [2.0, 2.0, 0.0]
    assert gradient.tolist() == [3.0, 2.0, -3.0]


@pytest.mark.parametrize(("name", "value"), [("is_available", False), ("get_world_size", 1)])
def test_without_company_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, name, lambda: value)
    monkeypatch.setattr(dist, "all_reduce", lambda total: pytest.fail("it was sent"))
    gradient = torch.randn(2)
    assert mean_over_processes(gradient) is gradient
