"""prune-ssl trace: list the groups of units that can be pruned, and the cost of one unit of each."""

import json
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer
from rich.table import Table

from prune_ssl.cli.console import one_line_errors, out
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.models import Loading, load_and_say
from prune_ssl.cli.options import Model, Seconds, traced

if TYPE_CHECKING:
    from prune_ssl.tracing import PruningGraph


class GroupRow(TypedDict):
    """One group, with the cost of one unit if all other units stay."""

    group: str
    kind: str
    units: int
    params_per_unit: int
    macs_per_unit: int
    parameters: list[str]


@with_groups
@one_line_errors
def trace_command(
    model: Model,
    seconds: Seconds = 10.0,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Show only groups that match this pattern, such as 'layer.0.*'; repeatable."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Leave out groups that match this pattern; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    *,
    loading: Loading,
) -> None:
    """List the groups of units that can be pruned, and the cost of one unit of each."""
    graph = traced(load_and_say(model, loading, to_stderr=as_json), only, ignore)
    rows = group_rows(graph, seconds)
    cost = graph.cost(seconds=seconds)
    if as_json:
        sections = {name: {"params": c.params, "macs": c.macs} for name, c in cost.by_section.items()}
        data = {
            "model": model,
            "family": graph.family,
            "seconds": seconds,
            "params": cost.params,
            "macs": cost.macs,
            "sections": sections,
            "groups": rows,
            "not_pruned": graph.not_pruned,
        }
        print(json.dumps(data, indent=1))
        return
    macs = f"{cost.macs / 1e9:.3f} G MACs at {cost.seconds:g} s"
    table = Table(title=f"{model}: {cost.params:,} parameters, {macs}")
    for name in ("group", "kind", "units", "params/unit", "MACs/unit", "tensors"):
        table.add_column(
            name, justify="left" if name in ("group", "kind") else "right", no_wrap=name == "group"
        )
    for row in rows:
        numbers = f"{row['units']:,}", f"{row['params_per_unit']:,}", f"{row['macs_per_unit']:,}"
        table.add_row(row["group"], row["kind"], *numbers, str(len(row["parameters"])))
    out.print(table)
    for path, why in graph.not_pruned.items():
        out.print(f"not pruned: {path}: {why}", markup=False)


def group_rows(graph: "PruningGraph", seconds: float) -> list[GroupRow]:
    """Return one row per group, with the cost of one unit if all other units stay."""
    dense = graph.widths()
    params, macs = graph.polynomial("params"), graph.polynomial("macs", seconds=seconds)
    return [
        {
            "group": name,
            "kind": group.kind,
            "units": group.size,
            "params_per_unit": params.marginal(name, dense),
            "macs_per_unit": macs.marginal(name, dense),
            "parameters": [part.parameter for part in group.slices]
            or list(group.members),  # a whole block or layer consists of all its parameters
        }
        for name, group in graph.groups.items()
    ]
