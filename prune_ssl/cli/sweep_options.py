"""The options of `prune-ssl sweep`: its grid, where its trials run, and how many are run at all."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prune_ssl.cli.extensions import load_extensions
from prune_ssl.cli.options import MOST, MOST_THREADS, Seeds, number
from prune_ssl.errors import RecipeError

if TYPE_CHECKING:
    from prune_ssl.recipes import Recipe
    from prune_ssl.reporting.sweep_point import SweepPoint
    from prune_ssl.sweeping import Engine, Trial


@dataclass(frozen=True)
class Grid:
    """The axes of a sweep's grid, and the folder of its runs. Without an axis the recipe's value is taken."""

    budgets: Annotated[
        list[str] | None,
        typer.Option(
            help="Budgets, such as 50% (of the MACs) or params=25M; repeatable, or separated by spaces. "
            "Default: the recipe's."
        ),
    ] = None
    methods: Annotated[
        list[str] | None,
        typer.Option(
            help="Methods: gates, auto, one_shot/magnitude, iterative/taylor, ...; repeatable. Default: the "
            "recipe's."
        ),
    ] = None
    seeds: Seeds = None
    freeze: Annotated[
        list[str] | None,
        typer.Option(
            help="A recipe that only fine-tunes: the parts that are not trained, nothing, backbone or "
            "frontend; repeatable. A table compares them."
        ),
    ] = None
    folder: Annotated[Path | None, typer.Option("--out", help="Output folder. Default: runs/sweep-NAME.")] = (
        None
    )


@dataclass(frozen=True)
class Where:
    """The place where the trials of a sweep run."""

    jobs: Annotated[
        int, typer.Option(help="Processes of this machine that run trials.", min=1, max=MOST_THREADS)
    ] = 1
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Work as worker I of N that share the output folder, such as the tasks of a Slurm array.",
        ),
    ] = None
    on: Annotated[
        str | None,
        typer.Option(
            metavar="ray[://ADDRESS]", help="Run the trials as tasks of a Ray cluster, by default a new one."
        ),
    ] = None
    trial_cpus: Annotated[
        float,
        typer.Option(help="Ray: the processors of a trial.", callback=number(0, MOST_THREADS, "processors")),
    ] = 1.0
    trial_gpus: Annotated[
        float,
        typer.Option(
            help="Ray: the accelerators of a trial; 0.5 lets two trials share one.",
            callback=number(0, MOST_THREADS, "accelerators"),
        ),
    ] = 0.0

    @property
    def parallel(self) -> bool:
        """Whether trials run beside each other, so that a table shows them better than lines."""
        return self.jobs > 1 or self.on is not None

    def check(self) -> None:
        """Refuse options that cannot be read or exclude each other, before torch is loaded.

        Raises:
            RecipeError: they are refused.
        """
        given = {"--jobs": self.jobs > 1, "--shard": self.shard is not None, "--on": self.on is not None}
        if sum(given.values()) > 1:
            names = " and ".join(name for name, found in given.items() if found)
            raise RecipeError(f"{names} exclude each other: give one of them.")

    def engine(self) -> "Engine":
        """Return the engine that the options name."""
        from prune_ssl.sweeping import Jobs, OnRay, Shard

        if self.on is not None:
            return OnRay.parse(self.on, self.trial_cpus, self.trial_gpus, load_extensions)
        if self.shard is not None:
            return Shard.parse(self.shard)
        return Shard() if self.jobs == 1 else Jobs(self.jobs, load_extensions)


@dataclass(frozen=True)
class WhichTrials:
    """The ways in which a sweep runs fewer trials than a grid."""

    find: Annotated[
        str | None,
        typer.Option(
            metavar="'drop<=POINTS'",
            help="Find the smallest model whose metric drops by at most so many points, by bisection over "
            "the budgets between the two of --budgets (default 5% to 100%).",
        ),
    ] = None
    find_step: Annotated[
        float,
        typer.Option(
            help="The difference of neighbouring budgets of --find, in percent.",
            callback=number(0.1, 50, "percent"),
        ),
    ] = 2.5
    halving: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Run short trials first, and in each round only the best method in N goes on.",
            min=2,
            max=MOST,
        ),
    ] = None
    only_check: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check the trials of the grid, print the budgets, and stop without training."
        ),
    ] = False

    def check(self, where: Where, methods: list[str]) -> None:
        """Refuse options that exclude each other.

        Raises:
            RecipeError: they are refused.
        """
        if self.find is not None and self.halving is not None:
            raise RecipeError("--find and --halving exclude each other: give one of them.")
        if where.shard is not None and (self.find is not None or self.halving is not None):
            raise RecipeError(
                "--shard runs a grid, because each worker decides alone: leave out --find and --halving, or "
                "give --jobs or --on."
            )
        if self.halving is not None and len(methods) < 2:
            raise RecipeError("--halving chooses among methods: give at least two with --methods.")

    def run(
        self, recipe: "Recipe", cells: "list[Trial]", budgets: list[str], out: Path, where: Where
    ) -> "list[SweepPoint]":
        """Run the trials on the engine of `where`, and return the points of those that are asked for."""
        from prune_ssl.cli.sweep_table import shown_live
        from prune_ssl.sweeping import Search, find_smallest, sweep, sweep_by_halving

        engine = where.engine()
        search = None if self.find is None else Search.parse(self.find, budgets, self.find_step)
        with shown_live(recipe, cells, out, live=where.parallel and search is None) as say:
            if search is not None:
                return find_smallest(recipe, search, cells, out, say, engine)
            if self.halving is not None:
                return sweep_by_halving(recipe, cells, out, say, engine, self.halving)
            return sweep(recipe, cells, out, say, engine)
