"""How a graph is read as a mapping of its groups, and shown in a shell and in a notebook."""

from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from html import escape
from typing import TYPE_CHECKING, cast

from prune_ssl.errors import KeepError

if TYPE_CHECKING:
    from prune_ssl.tracing.graph import Group, PruningGraph

SECONDS = 10.0
"""The audio length of the MACs that are shown."""


class GroupMapping:
    """The groups of a graph by name: its length, its names in order, and one group."""

    groups: "dict[str, Group]"
    family: str

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[str]:
        return iter(self.groups)

    def __contains__(self, name: object) -> bool:
        return name in self.groups

    def __getitem__(self, name: str) -> "Group":
        """Return a group.

        Raises:
            KeepError: the graph has no group of this name.
        """
        found = self.groups.get(name)
        if found is None:
            near = get_close_matches(str(name), self.groups, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise KeepError(f"this model has no group {name!r}.{hint}")
        return found

    def __repr__(self) -> str:
        """Return the family, the numbers of groups by kind, and the parameters."""
        kinds = Counter(group.kind for group in self.groups.values())
        counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        graph = cast("PruningGraph", self)
        params = graph.polynomial("params").value(graph.widths())
        return f"PruningGraph({self.family}: {len(self)} groups ({counted}), {params:,} parameters)"

    def _repr_html_(self) -> str:
        """Return a table of the groups with the cost of one unit of each, for notebooks."""
        graph = cast("PruningGraph", self)
        dense = graph.widths()
        params, macs = graph.polynomial("params"), graph.polynomial("macs", seconds=SECONDS)
        rows = [
            (
                name,
                group.kind,
                f"{group.size:,}",
                f"{params.marginal(name, dense):,}",
                f"{macs.marginal(name, dense):,}",
            )
            for name, group in self.groups.items()
        ]
        head = ("group", "kind", "units", "parameters of a unit", f"MACs of a unit, {SECONDS:g} s")
        return (
            f"<p>{escape(repr(self))}</p><table><thead>{_row(head, 'th')}</thead>"
            f"<tbody>{''.join(_row(row, 'td') for row in rows)}</tbody></table>"
        )


def _row(cells: tuple[str, ...], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
