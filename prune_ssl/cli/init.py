"""prune-ssl init: write a recipe for a user's own model and corpus."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.cli.options import check_choice, check_writable
from prune_ssl.errors import RecipeError

if TYPE_CHECKING:
    from prune_ssl.recipes.looking import CorpusLook, ModelLook


@one_line_errors
def init_command(
    model: Annotated[str | None, typer.Option(help="Model folder or hub name. Asked for if missing.")] = None,
    data: Annotated[str | None, typer.Option(help="Folder of the corpus. Asked for if missing.")] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Task, such as ctc or classification. Default: that of the model's head."),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Column or columns to predict. Default: the usual one of the task.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="The amount to keep: 50%, params=20M. Default: macs=50%.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The recipe to write. Default: MODEL_TASK.yaml here.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing recipe.")] = False,
) -> None:
    """Write a recipe for your model and corpus, with a comment on each key. Asks if options are missing."""
    if output is not None:
        check_writable([output], (".yaml", ".yml"), overwrite)
    from prune_ssl.recipes.drafting import Wishes, choose_task, default_name, draft_recipe, full_budget
    from prune_ssl.recipes.looking import look_at_corpus, look_at_model
    from prune_ssl.tasks import TASKS
    from prune_ssl.writing import write_text

    if budget is not None:
        full_budget(budget)
    if task is not None:
        check_choice("--task", task, sorted(TASKS))
    asks = at_terminal()
    model = model or _asked("model", "Model folder or hub name", asks)
    seen = look_at_model(model)
    say(f"model:  {seen.kind or seen.family}, {f'task {seen.task}' if seen.task else 'no head for a task'}")
    corpus = look_at_corpus(data or _asked("data", "Folder of the corpus", asks))
    clips = ", ".join(f"{count} {split}" for split, count in corpus.clips.items())
    say(f"corpus: {clips} clips of about {corpus.seconds:.2g} s; it can feed {', '.join(corpus.tasks)}")
    if asks and not task:
        task = typer.prompt("Task", default=_likely(seen, corpus))
    if asks and not budget:
        budget = typer.prompt("Amount to keep", default="macs=50%")
    wishes = Wishes(task=task or "", target=target or "", budget=budget or "macs=50%")
    name = output.stem if output is not None else default_name(seen, choose_task(seen, corpus, wishes))
    place = output or Path(f"{name}.yaml")
    check_writable([place], (".yaml", ".yml"), overwrite)
    text = draft_recipe(seen, corpus, Wishes(wishes.task, wishes.target, wishes.budget, name))
    write_text(place, text)
    say(f"wrote {place}: a recipe, of which every key can be changed")
    if "\ndense: null" in text:
        say("It prunes the model as it is, without fine-tuning it first (dense: null).")
    say(f"next:   prune-ssl run {shlex.quote(str(place))} --dry-run    (checks everything, trains nothing)")


def at_terminal() -> bool:
    """Return whether somebody can answer questions."""
    return sys.stdin.isatty()


def _asked(option: str, question: str, asks: bool) -> str:
    """Ask for a text at a terminal.

    Raises:
        RecipeError: nobody is there to answer.
    """
    if not asks:
        raise RecipeError(
            f"init: give --{option} (at a terminal it would ask): "
            "prune-ssl init --model MODEL --data CORPUS --budget 50%"
        )
    answer: str = typer.prompt(question)
    return answer


def _likely(seen: "ModelLook", corpus: "CorpusLook") -> str:
    return seen.task or corpus.tasks[0]
