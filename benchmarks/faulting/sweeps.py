"""Workers of a sweep that are disturbed at one step of their writing, and another worker that goes on."""

import shutil
from pathlib import Path

import yaml

from faulting.forks import forked, steps_of
from faulting.runs import ENDS, PRUNING, TINY, Outcome, made_in, names_in, write_tones
from prune_ssl.recipes import make_recipe
from prune_ssl.sweeping import Shard, sweep, trials
from prune_ssl.training import ResumableTrainer

BUDGETS = ("80%", "60%")


class Sweeps:
    """Sweeps of two trials by `--shard 1/2`, each disturbed at one step and finished by `--shard 2/2`."""

    def __init__(self, place: Path) -> None:
        self.place = place / "shard"
        self.place.mkdir(parents=True)
        write_tones(self.place / "corpus")
        self.cells = trials(BUDGETS, ["one_shot/magnitude"], [0])
        self.settings = {
            "name": "shard",
            "model": {"family": "hubert", "config": TINY},
            "data": {"path": str(self.place / "corpus")},
            "report": {"seconds": [0.5], "iterations": 3, "min_seconds": 0},
            "batch_size": 4,
            "checkpoint_steps": 2,
            "dense": {"steps": 2, "learning_rate": 1e-3},
            "pruning": PRUNING | {"method": "one_shot"},
            "output": "unused",
        }
        whole = self.place / "whole"
        self.steps = steps_of(lambda: self._sweep(whole, 1), self.place / "trace")
        self.wanted, self.files = self._made(whole), names_in(whole)

    def _sweep(self, out: Path, index: int) -> None:
        recipe = make_recipe(yaml.safe_load(yaml.safe_dump(self.settings)))
        sweep(recipe, self.cells, out, print, Shard(index, 2))

    def _sweep_again(self, out: Path) -> None:
        """Sweep where nothing is left to be trained."""

        def refuse(*_given: object, **_named: object) -> None:
            raise AssertionError("a finished trial trains again")

        ResumableTrainer.train = refuse  # type: ignore[method-assign]
        self._sweep(out, 1)

    def _made(self, out: Path) -> dict[str, str]:
        """Return the weights, the plan and the results of each trial."""
        return {
            f"{cell.name}/{name}": found
            for cell in self.cells
            for name, found in made_in(out / cell.name).items()
        }

    def disturbed(self, how: str, step: int) -> Outcome:
        """Disturb worker 1 at a step, let worker 2 finish the sweep, sweep again, and compare.

        Args:
            how: a key of `ENDS`.
            step: counted from 1.
        """
        out, said = self.place / f"{how}-{step}", self.place / f"said-{how}-{step}"
        kind, path = self.steps[step - 1]
        shown = path.replace(f"{self.place / 'whole'}/", "")
        outcome = Outcome(step, kind, shown, forked(lambda: self._sweep(out, 1), f"{how}@{step}", said))
        if outcome.status not in ENDS[how]:
            outcome.faults.append(f"traceback {said.read_text()[-1500:]}")
        for name, found in self._made(out).items():
            if found != self.wanted[name]:
                outcome.faults.append(f"lost {name}")
        for again in (lambda: self._sweep(out, 2), lambda: self._sweep_again(out)):
            if not outcome.faults and forked(again, "", said) != 0:
                outcome.faults.append(f"refused {said.read_text()[-1500:]}")
        if not outcome.faults:
            found_in_the_end = self._made(out)
            outcome.faults += [
                f"different {name}"
                for name, wanted in self.wanted.items()
                if found_in_the_end.get(name) != wanted
            ]
            outcome.faults += [f"stray {name}" for name in sorted(names_in(out) ^ self.files)]
        shutil.rmtree(out, ignore_errors=True)
        return outcome
