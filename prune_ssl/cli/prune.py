"""prune-ssl prune: one-shot pruning of a checkpoint, without training."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn

from prune_ssl.artifacts import plan_from_dense, prepare_folder, save_pretrained
from prune_ssl.artifacts.companions import companions_of, new_name
from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.models import Loading, load_and_say
from prune_ssl.cli.options import MOST, Seconds, check_choice, check_folder, traced
from prune_ssl.errors import BudgetError, ModelError
from prune_ssl.gating import Plan
from prune_ssl.models import is_pruned
from prune_ssl.models.config_checks import DTYPES
from prune_ssl.models.origin import origin_of, write_in
from prune_ssl.profiling import fit_latency, with_latency
from prune_ssl.resizing import resize, to_stock
from prune_ssl.selection import (
    KINDS,
    UNIT_KINDS,
    Budget,
    Layout,
    Normalise,
    asked_dtype,
    needing_no_data,
    parse_budget,
    select,
)
from prune_ssl.tracing import PruningGraph

LAYOUTS: dict[str, Layout] = {"hetero": "hetero", "stock": "stock"}
NORMALISES: dict[str, Normalise] = {"cost": "cost", "none": "none"}


@dataclass(frozen=True)
class Choice:
    """Which units may go, and how they are compared."""

    criterion: Annotated[str, typer.Option(help="Score of units: magnitude, uniform or random.")] = (
        "magnitude"
    )
    normalise: Annotated[
        str, typer.Option(help="Compare units by score per cost saved (cost), or by score alone (none).")
    ] = "cost"
    isomorphic: Annotated[
        bool, typer.Option(help="Compare units by rank within their kind: kinds are cut about equally.")
    ] = False
    kinds: Annotated[str, typer.Option(help=f"Kinds of units that may go, of {', '.join(KINDS)}.")] = (
        ",".join(UNIT_KINDS)
    )
    only: Annotated[list[str] | None, typer.Option(help="Pattern of groups that may lose units.")] = None
    ignore: Annotated[list[str] | None, typer.Option(help="Pattern of groups to leave whole.")] = None
    round_to: Annotated[int, typer.Option(help="Widths become multiples of this.", min=1, max=MOST)] = 8
    seconds: Seconds = 10.0
    layout: Annotated[
        str,
        typer.Option(help="stock: the result loads without prune_ssl (conv channels and one FFN width go)."),
    ] = "hetero"
    allow_pruned: Annotated[bool, typer.Option(help="Prune a model that was pruned already.")] = False

    def check(self) -> None:
        """Refuse what is none of the choices.

        Raises:
            RecipeError: it names the option and the nearest choice.
        """
        check_choice("--criterion", self.criterion, needing_no_data())
        check_choice("--normalise", self.normalise, NORMALISES)
        check_choice("--layout", self.layout, LAYOUTS)
        for kind in self.chosen_kinds:
            check_choice("--kinds", kind, KINDS)

    @property
    def chosen_kinds(self) -> list[str]:
        """Kinds of units that may go."""
        return [kind.strip() for kind in self.kinds.split(",")]

    def keep(self, model: nn.Module, graph: PruningGraph, limits: Budget) -> dict[str, tuple[int, ...]]:
        """Return which units of a model stay."""
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
    """How the smaller model is written."""

    dtype: Annotated[
        str,
        typer.Option(
            help="Of the weights that are written: stored (the source's), float32, float16, bfloat16."
        ),
    ] = "stored"
    overwrite: Annotated[bool, typer.Option(help="Replace the folder if it exists.")] = False


@with_groups
@one_line_errors
def prune_command(
    model: Annotated[str, typer.Argument(help="Model folder or hub name.")],
    out: Annotated[Path, typer.Argument(help="Folder for the smaller model.")],
    budget: Annotated[
        str, typer.Option(help="What to keep: macs=50%, params=25M, memory=40MB, latency=12ms@cpu,threads=1.")
    ],
    choice: Choice,
    loading: Loading,
    written: Written,
) -> None:
    """Cut a model to a budget in one shot (no training: expect to fine-tune it afterwards)."""
    prepare_folder(out, written.overwrite)
    check_folder(out.parent)
    limits = parse_budget(budget)
    asked = _asked_dtype(written.dtype, limits)
    choice.check()
    dense, seconds = load_and_say(model, loading), choice.seconds
    if asked is not None:
        write_in(dense, asked)
    if is_pruned(dense) and not choice.allow_pruned:
        raise ModelError(f"{model} was pruned by prune_ssl already; give --allow-pruned to prune it further.")
    graph = traced(dense, choice.only, choice.ignore)
    limits = with_latency(dense, graph, limits, seconds, say=say)

    def choose(limits: Budget) -> dict[str, tuple[int, ...]]:
        return choice.keep(dense, graph, limits)

    keep = choose(fit_latency(dense, graph, limits, choose, say).budget)
    plan = plan_from_dense(dense, Plan(keep))
    small = resize(dense, graph, keep, inplace=True)
    small = to_stock(small) if choice.layout == "stock" else small
    before, after = graph.cost(seconds=seconds), graph.cost(keep, seconds)
    save_pretrained(small, out, overwrite=written.overwrite, plan=plan)
    for line in _notes(dense):
        say(line)
    say(f"parameters {before.params:,} -> {after.params:,} ({100 * after.params / before.params:.1f}%)")
    say(f"MACs at {seconds:g} s {before.macs:,} -> {after.macs:,} ({100 * after.macs / before.macs:.1f}%)")
    say(f"model: {out}")


def _asked_dtype(dtype: str, budget: Budget) -> torch.dtype | None:
    """Return the dtype to write in, as the option or the budget names it; None: that of the source."""
    check_choice("--dtype", dtype, ("stored", *DTYPES))
    counted = asked_dtype(budget)
    if counted is not None and dtype not in ("stored", counted):
        raise BudgetError(f"--dtype is {dtype}, but the budget counts in {counted}: give one of them.")
    name = counted if dtype == "stored" else dtype
    found: torch.dtype | None = None if name is None else getattr(torch, name)
    return found


def _notes(dense: nn.Module) -> Iterator[str]:
    """Say what went along, and what of the source's folder did not though it might be wanted."""
    origin = origin_of(dense)
    if origin is None:
        return
    found = companions_of(origin.place)
    if found.files:
        yield f"went along: {', '.join(sorted({new_name(each).parts[0] for each in found.files}))}"
    for name, why in found.left_out.items():
        yield f"note: {name} stayed behind: {why}"
    if (
        not (origin.place.folder / "preprocessor_config.json").is_file()
        and not (origin.place.folder / "processor_config.json").is_file()
    ):
        yield f"note: {origin.place.name} has no feature extractor; none was saved with the smaller model."
