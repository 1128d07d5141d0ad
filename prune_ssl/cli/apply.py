"""prune-ssl apply: cut a dense checkpoint to the plan of a model that was pruned before."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.artifacts import load_plan, plan_from_dense, prepare_folder, save_pretrained
from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.models import Loading, load_and_say
from prune_ssl.cli.options import Seconds, check_choice, check_folder
from prune_ssl.resizing import resize, to_stock
from prune_ssl.tracing import trace


@dataclass(frozen=True)
class Wanted:
    """How the smaller model is written and shown."""

    layout: Annotated[
        str, typer.Option(help="stock: the result loads without prune_ssl; the plan must allow it.")
    ] = "hetero"
    seconds: Seconds = 10.0
    overwrite: Annotated[bool, typer.Option(help="Replace the folder if it exists.")] = False


@with_groups
@one_line_errors
def apply_command(
    plan: Annotated[Path, typer.Argument(help="pruning_plan.json, or the folder of a pruned model.")],
    model: Annotated[str, typer.Argument(help="Dense model: folder or hub name.")],
    out: Annotated[Path, typer.Argument(help="Folder for the smaller model.")],
    wanted: Wanted,
    loading: Loading,
) -> None:
    """Make the cut of a plan again, from the dense checkpoint: where weights may not be passed on.

    The weights are the dense model's. A model that was trained after its cut has other ones.
    """
    check_choice("--layout", wanted.layout, ("hetero", "stock"))
    loading.check()
    prepare_folder(out, wanted.overwrite)
    check_folder(out.parent)
    kept, seconds = load_plan(plan), wanted.seconds
    dense = load_and_say(model, loading)
    graph = trace(dense)
    whole = plan_from_dense(dense, kept)
    small = resize(dense, graph, kept, inplace=True)
    small = to_stock(small) if wanted.layout == "stock" else small
    before, after = graph.cost(seconds=seconds), graph.cost(kept.keep, seconds)
    save_pretrained(small, out, overwrite=wanted.overwrite, plan=whole)
    say(f"parameters {before.params:,} -> {after.params:,} ({100 * after.params / before.params:.1f}%)")
    say(f"MACs at {seconds:g} s {before.macs:,} -> {after.macs:,} ({100 * after.macs / before.macs:.1f}%)")
    say(f"model: {out}")
