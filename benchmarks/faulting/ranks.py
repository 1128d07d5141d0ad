"""Runs on two processes (gloo), of which one is killed at a step, resumed and compared."""

import shutil
from pathlib import Path

from faulting.forks import KILLED, forked_ranks, read_trace
from faulting.runs import TRAIN, Outcome, WholeRuns, made_in, names_in

WORLD = 2


class RankRuns(WholeRuns):
    """Runs of one method on two processes, compared with one that nothing disturbs."""

    def __init__(self, method: str, place: Path) -> None:
        super().__init__(method, place / "ranks")

    def _first_run(self, folder: Path) -> list[tuple[str, str]]:
        """Run undisturbed, and return the steps of the first process; `others` are those of the second."""
        traces = [self.place / f"trace-{rank}" for rank in range(WORLD)]
        statuses = self._together(folder, [f"trace@{trace}" for trace in traces], resume=False)
        assert statuses == [0] * WORLD, self._said.with_suffix(".0").read_text()[-3000:]
        first, self.others = (read_trace(trace) for trace in traces)
        return first

    @property
    def _said(self) -> Path:
        return self.place / "said.log"

    def _together(self, folder: Path, faults: list[str], resume: bool = True) -> list[int]:
        return forked_ranks(lambda: self._run(folder, resume), faults, self._said)

    def disturbed(self, how: str, step: int) -> Outcome:
        """Kill one process at a step, resume both, resume again, and compare.

        A step of training kills the second process, one of writing the first, which alone writes.
        """
        folder = self.place / f"{how}-{step}"
        folder.mkdir()
        kind, path = self.steps[step - 1]
        faults = [f"{how}@{step}", ""]
        if kind == TRAIN:
            turn = [each for each, _ in self.steps[:step]].count(TRAIN)
            turns = [number for number, (each, _) in enumerate(self.others, 1) if each == TRAIN]
            faults = ["", f"{how}@{turns[turn - 1]}"]
        statuses = self._together(folder, faults)
        shown = path.replace(f"{self.place / 'whole'}/", "")
        outcome = Outcome(step, kind, shown, statuses[faults.index("") ^ 1])
        if outcome.status != KILLED:
            outcome.faults.append(f"traceback {self._said.with_suffix('.0').read_text()[-1500:]}")
        for name, found in made_in(folder / "out").items():
            if found != self.wanted[name]:
                outcome.faults.append(f"lost {name}")
        if not outcome.faults and self._together(folder, ["", ""]) != [0, 0]:
            outcome.faults.append(f"refused {self._said.with_suffix('.0').read_text()[-1500:]}")
        if not outcome.faults:
            found_in_the_end = made_in(folder / "out")
            outcome.faults += [
                f"different {name}"
                for name, wanted in self.wanted.items()
                if found_in_the_end.get(name) != wanted
            ]
            outcome.faults += [f"stray {name}" for name in sorted(names_in(folder) ^ self.files)]
        shutil.rmtree(folder)
        return outcome
