"""Variants of a recipe that only fine-tunes: the encoder trained, or frozen in part, and a table of them.

The joint fine-tuning of keywords and speakers asks whether a fine-tuned encoder beats a frozen one. One sweep
runs both with the same seeds.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Literal

from prune_ssl.errors import ArtifactError, PruneError, RecipeError
from prune_ssl.pipeline.fine_tuning import STAGE
from prune_ssl.pipeline.folders import RECIPE_FILE, has_result
from prune_ssl.pipeline.running import run
from prune_ssl.recipes import Recipe, load_recipe
from prune_ssl.recipes.written import recipe_as_yaml
from prune_ssl.reporting import Report
from prune_ssl.reporting.formatting import metric_value, points
from prune_ssl.tasks import PairedDifference, outcomes_from_data, paired_difference
from prune_ssl.writing import check_place, make_folder, write_text

Freeze = Literal["backbone", "frontend"]
NOTHING = "nothing"
"""The name of the variant that trains everything."""


@dataclass(frozen=True)
class Variant:
    """One run: the part of the model that is not trained, and the seed.

    >>> Variant("backbone", 1).name
    'backbone-s1'
    """

    frozen: str
    seed: int

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return f"{self.frozen}-s{self.seed}"


def run_variants(
    recipe: Recipe, frozen: Sequence[str], seeds: Sequence[int], out: Path, say: Callable[[str], None] = print
) -> str:
    """Run each variant that has no report yet, and write `variants.md` and `variants.csv` to `out`.

    Args:
        recipe: A recipe that only fine-tunes.
        frozen: The parts that are not trained: `nothing`, `backbone` or `frontend`.
        seeds: The seeds, which all variants share.
        out: The folder of all runs.
        say: Called with one line for each run.

    Returns:
        The table as Markdown.

    Raises:
        RecipeError: the recipe prunes or distils.
        ArtifactError: no run has a result.
    """
    if recipe.dense is None or not recipe.only_fine_tunes:
        raise RecipeError(f"{recipe.name}: --freeze compares runs that only fine-tune: give such a recipe.")
    check_place(out)
    make_folder(out)
    cells = [Variant(part, seed) for seed, part in product(seeds, frozen)]
    for number, cell in enumerate(cells, 1):
        if has_result(out / cell.name):
            continue
        say(f"[{number}/{len(cells)}] {cell.frozen} frozen, seed {cell.seed}")
        try:
            _run(recipe, cell, out, say)
        except (PruneError, RuntimeError) as error:  # torch's errors of memory are RuntimeErrors
            say(f"failed: {error}")
    reports = {
        cell: Report.load(out / cell.name / "report.json") for cell in cells if has_result(out / cell.name)
    }
    if not reports:
        raise ArtifactError(f"{out}: no variant has a result.")
    write_text(out / "variants.csv", _csv(reports))
    table = _markdown(reports)
    write_text(out / "variants.md", table)
    return table


def _run(recipe: Recipe, cell: Variant, out: Path, say: Callable[[str], None]) -> None:
    assert recipe.dense is not None
    freeze = None if cell.frozen == NOTHING else cell.frozen
    changes = {
        "dense": replace(recipe.dense, freeze=freeze),  # type: ignore[arg-type]  # the command has checked it
        "seed": cell.seed,
        "output": str(out / cell.name),
    }
    made = recipe.model_copy(update=changes)
    written = made.folder / RECIPE_FILE
    begun = written.is_file() and recipe_as_yaml(load_recipe(written)) == recipe_as_yaml(made)
    run(made, overwrite=not begun, say=say, resume=begun)


def _results(report: Report) -> dict[str, float]:
    """Return the metrics of a run, without the ends of their intervals."""
    found = report.data.results[STAGE]
    return {name: value for name, value in found.items() if not name.endswith(("_low", "_high", "_speakers"))}


def _csv(reports: dict[Variant, Report]) -> str:
    text = io.StringIO()
    names = list(dict.fromkeys(name for report in reports.values() for name in _results(report)))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["frozen", "seed", *names])
    for cell, report in reports.items():
        found = _results(report)
        writer.writerow([cell.frozen, cell.seed, *[found.get(name, "") for name in names]])
    return text.getvalue()


def _markdown(reports: dict[Variant, Report]) -> str:
    """Return a table of means over seeds, and the paired differences from the first variant."""
    parts = list(dict.fromkeys(cell.frozen for cell in reports))
    names = list(dict.fromkeys(name for report in reports.values() for name in _results(report)))
    lines = [f"| frozen | seeds | {' | '.join(names)} | minus {parts[0]} |", "|---" * (len(names) + 3) + "|"]
    for part in parts:
        own = {cell.seed: report for cell, report in reports.items() if cell.frozen == part}
        means = [mean(_results(report)[name] for report in own.values()) for name in names]
        shown = [metric_value(name, value) for name, value in zip(names, means, strict=True)]
        difference = "" if part == parts[0] else _shown(_difference(reports, parts[0], part))
        lines.append(f"| {part} | {', '.join(map(str, own))} | {' | '.join(shown)} | {difference} |")
    return "\n".join(lines) + "\n"


def _difference(reports: dict[Variant, Report], first: str, second: str) -> PairedDifference | None:
    """Return the paired difference of the main metric over the seeds that both variants have."""
    outcomes = {
        cell: outcomes_from_data(report.data.outcomes[STAGE])
        for cell, report in reports.items()
        if STAGE in report.data.outcomes
    }
    seeds = [
        cell.seed for cell in outcomes if cell.frozen == first and Variant(second, cell.seed) in outcomes
    ]
    if not seeds:
        return None
    one, other = ([outcomes[Variant(part, seed)] for seed in seeds] for part in (first, second))
    return paired_difference(one, other)


def _shown(found: PairedDifference | None) -> str:
    if found is None:
        return "-"
    value, low, high = (points(found.metric, each) for each in (found.difference, found.low, found.high))
    return f"{found.metric} {value} ({low.removesuffix(' points')} to {high.removesuffix(' points')})"
