"""Latency tables that nobody measured."""

from dataclasses import replace

from prune_ssl.selection import UNIT_KINDS
from prune_ssl.selection.latency import LatencyCost, LatencyTable, Segment


def fake_table(graph, slope=1000, **more):
    """Times that are linear in MAC-like products, with one flat step in the FFN."""
    segments = []
    for name, group in graph.groups.items():
        if group.kind not in UNIT_KINDS:
            continue
        if group.kind == "conv":
            index = int(name.split(".")[1])
            before = f"conv.{index - 1}"
            grid = (1, group.size // 2, group.size)
            if not index:
                segments.append(Segment(name, (name,), (grid,), tuple(slope * w for w in grid)))
            else:
                inner = (1, graph.groups[before].size)
                times = tuple(slope * a * b // 8 for a in inner for b in grid)
                segments.append(Segment(name, (before, name), (inner, grid), times))
        else:
            grid = tuple(range(0, group.size + 1, 2 if group.kind == "heads" else 8))
            segments.append(Segment(name, (name,), (grid,), tuple(100 + slope * w for w in grid)))
    rest = 5000
    table = LatencyTable({"cpu": "none"}, "cpu", 1, 1.0, "float32", 0, rest, tuple(segments), **more)
    dense = LatencyCost(table, graph).value(graph.widths())
    return LatencyTable({"cpu": "none"}, "cpu", 1, 1.0, "float32", dense, rest, tuple(segments))


def table_at(graph, at):
    """The table of `fake_table`, under given conditions."""
    fake = fake_table(graph)
    where = {name: getattr(at, name) for name in ("device", "threads", "seconds", "dtype", "runtime")}
    return replace(fake, **where)


def timed_as_the_table_says(_model, graph, keep, at, _opened):
    """Milliseconds of a model and of its cut, for a machine that is as fast as its table says."""
    cost = LatencyCost(table_at(graph, at), graph)
    return tuple(cost.value(widths) / 1e6 for widths in (graph.widths(), graph.widths(keep)))
