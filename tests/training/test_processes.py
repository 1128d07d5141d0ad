"""One process of several: what the first does alone, and what the others get of it."""

from contextlib import contextmanager

import pytest
import torch

from prune_ssl.errors import BudgetError
from prune_ssl.training import processes
from prune_ssl.training.processes import (
    cpu_arguments,
    first_before_others,
    from_first,
    is_first,
    launched,
    on_first,
)


class State:
    """Of one process of two; notes what it was asked."""

    num_processes = 2

    def __init__(self, first: bool) -> None:
        self.is_main_process, self.asked = first, []

    def wait_for_everyone(self) -> None:
        self.asked.append("waited")

    @contextmanager
    def main_process_first(self):
        self.asked.append("first")
        yield
        self.asked.append("others")


@pytest.fixture(params=[True, False])
def state(request, monkeypatch: pytest.MonkeyPatch) -> State:
    made = State(request.param)
    monkeypatch.setattr(processes, "_state", lambda: made)
    return made


def test_the_first_acts_while_the_others_wait(state: State) -> None:
    on_first(lambda: state.asked.append("acted"))
    assert state.asked == (["waited", "acted", "waited"] if state.is_main_process else ["waited"] * 2)
    assert is_first() == state.is_main_process


def test_all_get_what_the_first_made(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []

    def broadcast(values: list[object]) -> list[object]:
        sent.append(list(values))
        return ["made by the first"]

    monkeypatch.setattr(processes, "broadcast_object_list", broadcast)
    assert from_first(lambda: "made here") == "made by the first"
    assert sent == [["made here"] if state.is_main_process else [None]]


def test_what_the_first_refuses_every_process_raises(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    error = BudgetError("cannot be met")
    monkeypatch.setattr(processes, "broadcast_object_list", lambda values: [error])

    def refuse() -> None:
        raise error

    with pytest.raises(BudgetError, match="cannot be met"):
        from_first(refuse)


def test_the_first_goes_through_before_the_others(state: State) -> None:
    with first_before_others():
        state.asked.append("inside")
    assert state.asked == ["first", "inside", "others"]


def test_alone_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "broadcast_object_list", lambda values: pytest.fail("it was sent"))
    assert is_first()
    assert from_first(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        from_first(lambda: 1 / 0)


@pytest.mark.parametrize("world", [None, "1", "3"])
@pytest.mark.parametrize("accelerator", [True, False])
def test_several_processes_without_an_accelerator_are_made_one_run(
    monkeypatch: pytest.MonkeyPatch, world: str | None, accelerator: bool
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world is not None:
        monkeypatch.setenv("WORLD_SIZE", world)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    assert launched() == int(world or 1)
    wanted = {"use_cpu": True, "ddp_backend": "gloo"} if world == "3" and not accelerator else {}
    assert cpu_arguments() == wanted
