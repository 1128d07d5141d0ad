"""prune-ssl apply: cut a dense checkpoint by the plan of a model that was pruned before."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.models import Loading, load_and_say, say_costs
from prune_ssl.cli.options import Overwrite, Seconds, check_choice, check_folder


@dataclass(frozen=True)
class Wanted:
    """Options for the layout of the smaller model and for the printed costs."""

    layout: Annotated[
        str,
        typer.Option(help="hetero, or stock: the result loads without prune_ssl, if the plan allows it."),
    ] = "hetero"
    seconds: Seconds = 10.0
    overwrite: Overwrite = False


@with_groups
@one_line_errors
def apply_command(
    plan: Annotated[Path, typer.Argument(help="pruning_plan.json, or the folder of a pruned model.")],
    model: Annotated[str, typer.Argument(help="Dense model: folder or hub name.")],
    out: Annotated[Path, typer.Argument(help="Folder for the smaller model.")],
    wanted: Wanted,
    loading: Loading,
) -> None:
    """Cut a dense checkpoint by an existing plan, for example if pruned weights may not be distributed.

    The result has the dense model's weights. A model that was trained after its cut has other weights.
    """
    check_choice("--layout", wanted.layout, ("hetero", "stock"))
    loading.check()
    from prune_ssl.artifacts import load_plan, plan_from_dense, prepare_folder, save_pretrained
    from prune_ssl.resizing import resize, to_stock
    from prune_ssl.tracing import trace

    prepare_folder(out, wanted.overwrite)
    check_folder(out.parent)
    kept, seconds = load_plan(plan), wanted.seconds
    dense = load_and_say(model, loading)
    graph = trace(dense)
    kept.require_made_for(graph)
    whole = plan_from_dense(dense, kept)
    small = resize(dense, graph, kept, inplace=True)
    small = to_stock(small) if wanted.layout == "stock" else small
    before, after = graph.cost(seconds=seconds), graph.cost(kept.keep, seconds)
    save_pretrained(small, out, overwrite=wanted.overwrite, plan=whole)
    say_costs(before, after)
    say(f"model: {out}")
