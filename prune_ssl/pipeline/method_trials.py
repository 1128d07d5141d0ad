"""Method `auto`: short trials of several methods on validation clips, and the choice among them."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn
from transformers import set_seed

from prune_ssl.errors import BudgetError, PruneWarning, RecipeError
from prune_ssl.pipeline.corpora import judging_arguments
from prune_ssl.pipeline.preparation import Ready, Say, copy_of, pruning_config
from prune_ssl.recipes import Recipe, pruning_part
from prune_ssl.reporting.sweep_point import LOWER_IS_BETTER
from prune_ssl.tasks import outcomes_from_data, paired_difference
from prune_ssl.tasks.outcomes import Outcomes
from prune_ssl.training import PruningTrainer
from prune_ssl.training.processes import launched, on_first
from prune_ssl.writing import remove, write_text

AUTO = "auto"
TRIED = ("gates", "one_shot/taylor", "iterative/taylor")
"""The methods that are tried. The first one is taken unless another is better by more than noise."""
NOISE = 2.0
"""The standard errors by which another method must be ahead. One clip alone is about one of them."""
SHARE = 0.08
"""The part of the run's steps that each trial trains for, so that all of them cost less than 0.3 of a run."""
CHOICE_FILE = "method.json"
"""Holds the choice and the trials, so that a resumed run makes no trials again."""
TRIAL_FOLDER = "trial"


@dataclass(frozen=True)
class Trial:
    """The result of one method after a short training."""

    method: str
    """A member of `TRIED`."""
    metric: str
    """The main metric of the task."""
    value: float
    """The metric on the validation clips."""
    outcomes: Mapping[str, str]
    """The outcomes on each clip."""

    @property
    def shown(self) -> str:
        """The method and its metric in a few words."""
        return f"{self.method} {self.metric} {self.value:.3f}"


@dataclass(frozen=True)
class Choice:
    """The method that the trials chose, and how."""

    method: str
    steps: int
    """The steps of gate training, or after the cut, of each trial."""
    trials: tuple[str, ...]
    """What each method reached, in a few words."""

    @property
    def settings(self) -> dict[str, str]:
        """What the report says of the choice."""
        return {
            "method": f"{AUTO}, chose {self.method}",
            f"trials of {self.steps} steps": "; ".join(self.trials),
        }


def with_method(recipe: Recipe, method: str) -> Recipe:
    """Return a recipe of another method, such as `gates` or `iterative/taylor`."""
    name, _, criterion = method.partition("/")
    given: dict[str, Any] = {"method": name} | ({"criterion": criterion} if criterion else {})
    part = replace(pruning_part(recipe), **given)
    return recipe.model_copy(update={"pruning": part})


def require_trials_possible(recipe: Recipe, ready: Ready) -> None:
    """Refuse method `auto` where it cannot compare methods.

    Raises:
        RecipeError: the clips have no labels or are streamed, or several processes train.
    """
    problems = {
        "its task has no labels to compare methods by": recipe.task == "representation",
        "its corpus is streamed, without a validation split in memory": ready.corpus.stream is not None,
        "the methods that it compares run on one process": launched() > 1,
    }
    for problem, found in problems.items():
        if found:
            raise RecipeError(
                f"{recipe.name}: pruning.method: auto: {problem}: give a method, such as gates."
            )


def chosen_method(recipe: Recipe, ready: Ready, resume: bool, say: Say) -> Choice:
    """Try each method for a few steps from the dense model, and choose one by the validation clips.

    It is one round of successive halving (Jamieson & Talwalkar, AISTATS 2016). Gates are taken unless another
    method is ahead by more than NOISE standard errors of the paired difference, because they gain most from
    the steps that a trial does not have.

    Args:
        recipe: The recipe, of method `auto`.
        ready: The prepared run. Its model, which is not changed, is the dense one.
        resume: Whether to take the choice of the interrupted run, if it had come so far.
        say: Called with a line for each trial and for the choice.
    """
    path = ready.folder / CHOICE_FILE
    if resume and path.is_file():
        data = json.loads(path.read_text(encoding="utf-8"))
        return Choice(data["method"], data["steps"], tuple(data["trials"]))
    steps = max(round(SHARE * pruning_part(recipe).steps), 1)
    say(f"Trying {', '.join(TRIED)}: {steps} steps each, judged on validation clips")
    found: list[Trial] = []
    for method in TRIED:
        try:
            found.append(_tried(recipe, ready, method, steps))
        except BudgetError as error:
            say(f"  {method}: left out: {error}")
            continue
        say(f"  {found[-1].shown}")
    if not found:
        raise BudgetError(f"{recipe.name}: pruning.method: auto: no method can meet the budget.")
    choice = Choice(best_of(found).method, steps, tuple(trial.shown for trial in found))
    say(f"  taken: {choice.method}")
    content = {"method": choice.method, "steps": steps, "trials": list(choice.trials)}
    on_first(lambda: write_text(path, json.dumps(content, indent=1) + "\n"))
    return choice


def best_of(found: Sequence[Trial]) -> Trial:
    """Return the first trial, or another one that is better by more than NOISE standard errors.

    >>> right, wrong = (Outcomes("accuracy", (each,) * 9 + (0, 1)).to_data() for each in (1, 0))
    >>> gates = Trial("gates", "accuracy", 1 / 11, wrong)
    >>> best_of([gates, Trial("one_shot/taylor", "accuracy", 10 / 11, right)]).method
    'one_shot/taylor'
    """
    best = found[0]
    for trial in found[1:]:
        if trial.outcomes and best.outcomes and _ahead(trial, best):
            best = trial
    return best


def _ahead(trial: Trial, best: Trial) -> bool:
    mine, other = (outcomes_from_data(each.outcomes) for each in (trial, best))
    if isinstance(mine, Outcomes) and isinstance(other, Outcomes):
        mine, other = mine.by_clip(), other.by_clip()
    found = paired_difference(other, mine)
    gain = -found.difference if trial.metric.lower() in LOWER_IS_BETTER else found.difference
    return gain > NOISE * found.standard_error


def _tried(recipe: Recipe, ready: Ready, method: str, steps: int) -> Trial:
    """Train one method for a few steps, and judge it on the validation clips."""
    folder = ready.folder / f"{TRIAL_FOLDER}-{method.replace('/', '-')}"
    set_seed(recipe.seed)
    model: nn.Module = copy_of(ready.model)
    clips = ready.corpus.clips.splits["validation"]
    judging = judging_arguments(clips, ready.task, ready.model, ready.task.processor(ready.extractor))
    judging["data_collator"].lengths = ready.losses is not None
    arguments: dict[str, Any] = ready.shared | judging
    args = replace(ready.arguments["pruning"], output_dir=str(folder), max_steps=steps, save_strategy="no")
    trainer = PruningTrainer(
        model=model,
        graph=ready.graph,
        pruning=pruning_config(with_method(recipe, method)),
        args=args,
        distillation=ready.losses,
        teacher=ready.teacher,
        **arguments,
    )
    trainer.phase = f"{TRIAL_FOLDER}-{method}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PruneWarning)  # a short training is far from its budget
        trainer.train()
        trainer.finalize()
    on_first(lambda: remove(Path(folder)))
    stage = "recovered" if "recovered" in trainer.results else "cut"
    results = trainer.results[stage]
    metric = next(
        name for name in results if name not in (f"{stage}_loss", f"{stage}_model_preparation_time")
    )
    return Trial(
        method, metric.removeprefix(f"{stage}_"), results[metric], trainer.run.record.outcomes.get(stage, {})
    )
