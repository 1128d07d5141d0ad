"""prune-ssl prune: one-shot pruning of a checkpoint, without training."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.models import Loading, load_and_say, say_costs
from prune_ssl.cli.options import MOST, Model, Overwrite, Seconds, check_choice, check_folder, traced
from prune_ssl.errors import BudgetError, ModelError, RecipeError
from prune_ssl.selection.kinds import KINDS, UNIT_KINDS

if TYPE_CHECKING:
    import torch
    from torch import nn

    from prune_ssl.selection import Budget, Layout, Normalise
    from prune_ssl.tracing import PruningGraph

LAYOUTS: "dict[str, Layout]" = {"hetero": "hetero", "stock": "stock"}
NORMALISES: "dict[str, Normalise]" = {"cost": "cost", "none": "none"}


@dataclass(frozen=True)
class Choice:
    """Options that decide which units are cut."""

    criterion: Annotated[
        str, typer.Option(help="Criterion that scores the units: magnitude, uniform or random.")
    ] = "magnitude"
    normalise: Annotated[
        str, typer.Option(help="Compare units by score per saved cost (cost), or by score alone (none).")
    ] = "cost"
    isomorphic: Annotated[
        bool,
        typer.Option(help="Compare units by their rank within their kind, so that kinds are cut equally."),
    ] = False
    kinds: Annotated[
        str, typer.Option(help=f"Kinds of units to cut, separated by commas: {', '.join(KINDS)}.")
    ] = ",".join(UNIT_KINDS)
    only: Annotated[
        list[str] | None, typer.Option(help="Cut only groups that match this pattern; repeatable.")
    ] = None
    ignore: Annotated[
        list[str] | None, typer.Option(help="Leave groups that match this pattern whole; repeatable.")
    ] = None
    round_to: Annotated[
        int, typer.Option(help="Round widths to multiples of this number.", min=1, max=MOST)
    ] = 8
    seconds: Seconds = 10.0
    layout: Annotated[
        str,
        typer.Option(
            help="hetero, or stock: the result loads without prune_ssl; then only conv channels and one "
            "common FFN width are cut."
        ),
    ] = "hetero"
    allow_pruned: Annotated[
        bool, typer.Option(help="Allow a model that was pruned before; the budget then refers to it.")
    ] = False

    def check(self) -> None:
        """Refuse values that are not among the choices.

        Raises:
            RecipeError: the message names the option and the nearest choice.
        """
        from prune_ssl.selection import CRITERIA, needing_no_data

        if self.criterion in CRITERIA and self.criterion not in needing_no_data():
            raise RecipeError(
                f"--criterion: {self.criterion} scores units on labelled clips, which `prune` does not read: "
                f"prune-ssl run RECIPE pruning.method=one_shot pruning.criterion={self.criterion}, or one of "
                f"{', '.join(sorted(needing_no_data()))}."
            )
        check_choice("--criterion", self.criterion, needing_no_data())
        check_choice("--normalise", self.normalise, NORMALISES)
        check_choice("--layout", self.layout, LAYOUTS)
        for kind in self.chosen_kinds:
            check_choice("--kinds", kind, KINDS)

    @property
    def chosen_kinds(self) -> list[str]:
        """The kinds of units to cut."""
        return [kind.strip() for kind in self.kinds.split(",")]

    def keep(self, model: "nn.Module", graph: "PruningGraph", limits: "Budget") -> dict[str, tuple[int, ...]]:
        """Return the units to keep."""
        from prune_ssl.selection import select

        return select(
            model,
            graph,
            limits,
            self.criterion,
            self.round_to,
            self.chosen_kinds,
            seconds=self.seconds,
            normalise=NORMALISES[self.normalise],
            isomorphic=self.isomorphic,
            layout=LAYOUTS[self.layout],
        )


@dataclass(frozen=True)
class Written:
    """Options for writing the smaller model."""

    dtype: Annotated[
        str,
        typer.Option(
            help="dtype of the written weights: stored (as in the source), float32, float16 or bfloat16."
        ),
    ] = "stored"
    overwrite: Overwrite = False


@with_groups
@one_line_errors
def prune_command(
    model: Model,
    out: Annotated[Path, typer.Argument(help="Folder for the smaller model.")],
    budget: Annotated[
        str,
        typer.Option(
            help="The amount to keep: macs=50%, params=25M, memory=40MB or "
            "latency=12ms@cpu,runtime=onnx-int8,threads=1."
        ),
    ],
    choice: Choice,
    loading: Loading,
    written: Written,
) -> None:
    """Cut a model to a budget in one shot, without training. Usually the result must be fine-tuned."""
    from prune_ssl.artifacts import plan_from_dense, prepare_folder, save_pretrained
    from prune_ssl.gating import Plan
    from prune_ssl.models import is_pruned
    from prune_ssl.models.origin import write_in
    from prune_ssl.profiling import fit_latency, with_latency
    from prune_ssl.resizing import resize, to_stock
    from prune_ssl.selection import parse_budget

    prepare_folder(out, written.overwrite)
    check_folder(out.parent)
    limits = parse_budget(budget)
    asked = _asked_dtype(written.dtype, limits)
    choice.check()
    dense, seconds = load_and_say(model, loading), choice.seconds
    if asked is not None:
        write_in(dense, asked)
    if is_pruned(dense) and not choice.allow_pruned:
        raise ModelError(f"{model} was pruned by prune_ssl already: give --allow-pruned to prune it further.")
    graph = traced(dense, choice.only, choice.ignore)
    limits = with_latency(dense, graph, limits, seconds, say=say)

    def choose(limits: "Budget") -> dict[str, tuple[int, ...]]:
        return choice.keep(dense, graph, limits)

    keep = choose(fit_latency(dense, graph, limits, choose, say).budget)
    plan = plan_from_dense(dense, Plan.of(graph, keep))
    small = resize(dense, graph, keep, inplace=True)
    small = to_stock(small) if choice.layout == "stock" else small
    before, after = graph.cost(seconds=seconds), graph.cost(keep, seconds)
    save_pretrained(small, out, overwrite=written.overwrite, plan=plan)
    for line in _notes(dense):
        say(line)
    say_costs(before, after)
    say(f"model:  {out}")
    say(f"next:   prune-ssl report {shlex.join([str(out), '--baseline', model])}    (its costs and time)")


def _asked_dtype(dtype: str, budget: "Budget") -> "torch.dtype | None":
    """Return the dtype for writing, from the option or the budget. None: the dtype of the source."""
    import torch

    from prune_ssl.models.config_checks import DTYPES
    from prune_ssl.selection import asked_dtype

    check_choice("--dtype", dtype, ("stored", *DTYPES))
    counted = asked_dtype(budget)
    if counted is not None and dtype not in ("stored", counted):
        raise BudgetError(f"--dtype is {dtype}, but the budget counts in {counted}: give one of them.")
    name = counted if dtype == "stored" else dtype
    found: torch.dtype | None = None if name is None else getattr(torch, name)
    return found


def _notes(dense: "nn.Module") -> Iterator[str]:
    """Yield a line on the copied companions, and notes on files of the source that were left out."""
    from prune_ssl.artifacts.companions import companions_of, new_name
    from prune_ssl.models.origin import origin_of

    origin = origin_of(dense)
    if origin is None:
        return
    found = companions_of(origin.place)
    if found.files:
        names = sorted({new_name(each).parts[0] for each in found.files})
        yield f"copied from the source: {', '.join(names)}"
    for name, why in found.left_out.items():
        yield f"note: {name} was not copied: {why}"
    if (
        not (origin.place.folder / "preprocessor_config.json").is_file()
        and not (origin.place.folder / "processor_config.json").is_file()
    ):
        yield f"note: {origin.place.name} has no feature extractor, so none was saved with the smaller model."
