"""prune-ssl apply: cut a dense checkpoint to the plan of a model that was pruned before."""

from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.artifacts import load_plan, plan_from_dense, prepare_folder, save_pretrained
from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.cli.models import HeadOption, PickleOption, load_and_say
from prune_ssl.cli.options import Seconds, check_choice, check_folder
from prune_ssl.resizing import resize, to_stock
from prune_ssl.tracing import trace


@one_line_errors
def apply_command(
    plan: Annotated[Path, typer.Argument(help="pruning_plan.json, or the folder of a pruned model.")],
    model: Annotated[str, typer.Argument(help="Dense model: folder or hub name.")],
    out: Annotated[Path, typer.Argument(help="Folder for the smaller model.")],
    layout: Annotated[
        str, typer.Option(help="stock: the result loads without prune_ssl; the plan must allow it.")
    ] = "hetero",
    head: HeadOption = "keep",
    allow_pickle: PickleOption = False,
    seconds: Seconds = 10.0,
    overwrite: Annotated[bool, typer.Option(help="Replace the folder if it exists.")] = False,
) -> None:
    """Make the cut of a plan again, from the dense checkpoint: where weights may not be passed on.

    The weights are the dense model's. A model that was trained after its cut has other ones.
    """
    check_choice("--layout", layout, ("hetero", "stock"))
    prepare_folder(out, overwrite)
    check_folder(out.parent)
    wanted = load_plan(plan)
    dense = load_and_say(model, head, allow_pickle)
    graph = trace(dense)
    whole = plan_from_dense(dense, wanted)
    small = resize(dense, graph, wanted, inplace=True)
    small = to_stock(small) if layout == "stock" else small
    before, after = graph.cost(seconds=seconds), graph.cost(wanted.keep, seconds)
    save_pretrained(small, out, overwrite=overwrite, plan=whole)
    say(f"parameters {before.params:,} -> {after.params:,} ({100 * after.params / before.params:.1f}%)")
    say(f"MACs at {seconds:g} s {before.macs:,} -> {after.macs:,} ({100 * after.macs / before.macs:.1f}%)")
    say(f"model: {out}")
