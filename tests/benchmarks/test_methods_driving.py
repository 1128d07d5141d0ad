"""Cells run in processes of their own, each after those that it needs."""

from dataclasses import dataclass, field

import pytest
from methods.driving import run_all
from methods.studies import GATES, STUDIES, Cell, cells_of

STUDY = STUDIES["arabic_commands"]
CELLS = cells_of(STUDY, ("dense", GATES, "hj_size", "auto"), (50,), (0, 1))


@dataclass
class Fake:
    """A process that ends when it is looked at often enough."""

    looks: int
    ended: bool = False
    calls: list[str] = field(default_factory=list)

    def poll(self) -> int | None:
        self.looks -= 1
        self.ended = self.looks <= 0
        return 0 if self.ended else None

    def terminate(self) -> None:
        self.calls.append("terminate")

    def wait(self) -> int:
        self.calls.append("wait")
        return 0


def test_no_cell_starts_before_its_needs_have_ended_and_no_more_run_than_wanted() -> None:
    started: dict[Cell, Fake] = {}

    def start(cell: Cell) -> Fake:
        assert all(started[need].ended for need in cell.needs)
        started[cell] = Fake(looks=1 + len(started) % 3)
        assert sum(not each.ended for each in started.values()) <= 2
        return started[cell]

    assert run_all(CELLS, 2, start, lambda cell, status: True, 0.0) == []
    assert set(started) == set(CELLS)


def test_cells_that_need_a_failed_one_fail_without_a_start() -> None:
    started = []

    def start(cell: Cell) -> Fake:
        started.append(cell.name)
        return Fake(looks=1)

    failed = run_all(CELLS, 1, start, lambda cell, status: cell.name != "gates-50-s0", 0.0)
    assert [cell.name for cell in failed] == ["gates-50-s0", "hj_size-50-s0"]
    assert len(started) == len(CELLS) - 1


def test_an_interruption_ends_the_processes_that_run() -> None:
    process = Fake(looks=2)

    def ended(cell: Cell, status: int) -> bool:
        raise KeyboardInterrupt

    fakes = [Fake(looks=1), process]
    with pytest.raises(KeyboardInterrupt):
        run_all(CELLS, 2, lambda cell: fakes.pop(0), ended, 0.0)
    assert process.calls == ["terminate", "wait"]
