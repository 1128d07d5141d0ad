"""One attempt at a trial: claim it, run or resume it, and record its end. All engines work by attempts."""

from collections.abc import Callable
from typing import Literal

from prune_ssl.errors import PruneError
from prune_ssl.pipeline import run
from prune_ssl.pipeline.folders import RECIPE_FILE, clear_finished, has_result, held, is_clear
from prune_ssl.recipes import load_recipe
from prune_ssl.recipes.written import recipe_as_yaml
from prune_ssl.sweeping.cells import Trial, recipe_from_dense
from prune_ssl.sweeping.plan import SweepPlan
from prune_ssl.writing import InUseError

Say = Callable[[str], None]
End = Literal["finished", "failed", "claimed", "waiting"]
"""The end of an attempt. `claimed`: another process runs the trial. `waiting`: its dense model is missing."""


def attempt(plan: SweepPlan, cell: Trial, say: Say) -> End:
    """Run or resume a trial, unless it has a result, has failed, or another process runs it.

    The claim is a lock that the kernel releases when the process ends, so that a trial whose worker died can
    be claimed at once. A trial that fails (also for lack of memory) is recorded, and left out of the table.
    """
    folder = plan.recipes[cell].folder
    if has_result(folder) and is_clear(folder):
        return "finished"
    try:
        with plan.claim(cell):
            return _run(plan, cell, say)
    except InUseError:
        return "claimed"


def _run(plan: SweepPlan, cell: Trial, say: Say) -> End:
    each = plan.recipes[cell]
    if has_result(each.folder):
        if not is_clear(each.folder):
            with held(each.folder):
                clear_finished(each.folder)
        return "finished"
    if plan.failure(cell) is not None:
        return "failed"
    if plan.waits(cell):
        return "waiting"
    say(plan.shown(cell))
    dense = plan.dense_of(cell)
    each = each if dense is None else recipe_from_dense(each, cell, dense)
    try:
        written = each.folder / RECIPE_FILE
        begun = written.is_file() and recipe_as_yaml(load_recipe(written)) == recipe_as_yaml(each)
        run(each, overwrite=not begun, say=say, resume=begun)
    except (PruneError, RuntimeError) as error:  # torch's errors of memory are RuntimeErrors
        plan.note_failure(cell, error)
        say(f"failed: {error}")
        return "failed"
    plan.forget_failure(cell)
    plan.write()
    return "finished"
