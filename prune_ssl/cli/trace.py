"""prune-ssl trace: list the groups of units that can be pruned, and the cost of one unit of each."""

import json
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import typer
from rich.table import Table

from prune_ssl.cli.console import err, one_line_errors, out, say
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.models import Loading, load_and_say
from prune_ssl.cli.options import Seconds, traced

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune_ssl.profiling import Breakdown
    from prune_ssl.selection import Budget
    from prune_ssl.tracing import PruningGraph


class GroupRow(TypedDict):
    """One group, with the cost of one unit if all other units stay."""

    group: str
    kind: str
    units: int
    params_per_unit: int
    macs_per_unit: int
    parameters: list[str]


NUMBERS: tuple[Literal["units", "params_per_unit", "macs_per_unit"], ...] = (
    "units",
    "params_per_unit",
    "macs_per_unit",
)


@with_groups
@one_line_errors
def trace_command(
    model: Annotated[
        str, typer.Argument(help="Model folder, hub name, or an architecture (arch:wav2vec2-base).")
    ],
    seconds: Seconds = 10.0,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Show only groups that match this pattern, such as 'layer.0.*'; repeatable."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Leave out groups that match this pattern; repeatable.")
    ] = None,
    latency: Annotated[
        str | None,
        typer.Option(
            metavar="RUNTIME[,threads=N]",
            help="Also measure the time of each unit and part on this machine, in a runtime or on a device: "
            "cpu, cuda, or onnx-int8,threads=2.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    *,
    loading: Loading,
) -> None:
    """List the groups of units that can be pruned, and the cost of one unit of each.

    With --latency it also shows where the time goes, which takes 1 to 3 minutes the first time.
    """
    asked = None if latency is None else _budget_of(latency)
    dense = _load(model, loading, as_json)
    graph = traced(dense, only, ignore)
    times = None if asked is None else _timed(dense, asked, seconds)
    if as_json:
        print(json.dumps({"model": model, **_as_data(graph, seconds, times)}, indent=1))
    else:
        _print_tables(model, graph, seconds, times)
        for line in footnotes(graph, getattr(dense.config, "hidden_size", None)):
            say(line)


def _load(name: str, loading: Loading, as_json: bool) -> "PreTrainedModel":
    """Return a model from a folder or the hub, or one of random weights by the name of its architecture."""
    from prune_ssl.measuring.benchmark import ARCH_PREFIX, build_model

    return build_model(name) if name.startswith(ARCH_PREFIX) else load_and_say(name, loading, as_json)


def _as_data(graph: "PruningGraph", seconds: float, times: "Breakdown | None") -> dict[str, object]:
    cost = graph.cost(seconds=seconds)
    data: dict[str, object] = {
        "family": graph.family,
        "seconds": seconds,
        "params": cost.params,
        "macs": cost.macs,
        "sections": {name: {"params": c.params, "macs": c.macs} for name, c in cost.by_section.items()},
        "groups": group_rows(graph, seconds),
        "not_pruned": graph.not_pruned,
    }
    if times is not None:
        data["latency"] = {
            "at": times.conditions,
            "total_ns": times.total_ns,
            "parts_ns": dict(times.by_part),
            "ns_per_unit": {name: ns for name, ns in times.per_unit.items() if name in graph.groups},
        }
    return data


def _print_tables(model: str, graph: "PruningGraph", seconds: float, times: "Breakdown | None") -> None:
    cost = graph.cost(seconds=seconds)
    macs = f"{cost.macs / 1e9:.3f} G MACs at {cost.seconds:g} s"
    table = Table(title=f"{model}: {cost.params:,} parameters, {macs}")
    last = "tensors" if times is None else "us/unit"  # both do not fit into 80 columns
    for name in ("group", "kind", "units", "params/unit", "MACs/unit", last):
        table.add_column(
            name, justify="left" if name in ("group", "kind") else "right", no_wrap=name == "group"
        )
    for row in group_rows(graph, seconds):
        numbers = [f"{row[name]:,}" for name in NUMBERS]
        ns = None if times is None else times.per_unit.get(row["group"])
        timed = "-" if ns is None else f"{ns / 1e3:,.1f}"
        table.add_row(
            row["group"], row["kind"], *numbers, str(len(row["parameters"])) if times is None else timed
        )
    out.print(table)
    if times is not None:
        shares = ", ".join(f"{name} {100 * share:.1f}%" for name, share in times.shares.items())
        say(f"time: {times.total_ns / 1e6:.1f} ms ({times.conditions}): {shares}")
    for path, why in graph.not_pruned.items():
        out.print(f"not pruned: {path}: {why}", markup=False)


def footnotes(graph: "PruningGraph", width: int | None) -> list[str]:
    """Return what the table cannot show: groups that hold others, and units of several dimensions.

    Args:
        graph: The groups of the table.
        width: The number of dimensions between the layers, if the model has one.
    """
    kinds = {group.kind for group in graph.groups.values()}
    lines = []
    if kinds & {"block", "layer"} and kinds - {"block", "layer"}:
        lines.append(
            "note: a layer holds its blocks, and a block its heads or neurons, so that the costs of their "
            "units overlap and do not add up."
        )
    stream = [group for group in graph.groups.values() if group.kind == "hidden"]
    if width and len(stream) == 1 and 1 < stream[0].size < width:
        each = width // stream[0].size
        lines.append(f"note: a unit of {stream[0].name} is {each} of the {width} dimensions.")
    return lines


def _budget_of(where: str) -> "Budget":
    """Return the budget whose table holds the times in the runtime or on the device of `--latency`.

    Raises:
        BudgetError: the runtime, the device or an option is not known, or a package is missing.
    """
    from prune_ssl.errors import BudgetError
    from prune_ssl.runtimes.registry import RUNTIMES, require_runtime
    from prune_ssl.selection import parse_budget

    first, comma, options = where.partition(",")
    at = f",runtime={first}" if first.strip() in RUNTIMES else f"@{first}"
    try:
        asked = parse_budget(f"latency=100%{at}{comma}{options}")
    except BudgetError as error:
        raise BudgetError(
            f"--latency: found {where!r}, wanted cpu, cuda or one of {', '.join(RUNTIMES)}, with options "
            "such as onnx-int8,threads=2."
        ) from error
    require_runtime(asked[0].at.runtime)
    return asked


def _timed(model: "PreTrainedModel", asked: "Budget", seconds: float) -> "Breakdown":
    """Return where the time of a model goes in the runtime of a budget.

    Raises:
        BudgetError: the device does not exist here.
    """
    from prune_ssl.profiling import time_by_part, with_latency
    from prune_ssl.tracing import trace

    graph = trace(model)  # the table belongs to the whole model, whatever is shown of it
    (constraint,) = with_latency(model, graph, asked, seconds, say=lambda line: err.print(line))
    assert constraint.table is not None
    return time_by_part(model, graph, constraint.table)


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
