"""Rows of a comparison of methods that no run made."""

from collections.abc import Sequence
from dataclasses import replace

from methods.results import Judged, Row, Table

JUDGED = Judged(
    study="arabic_commands",
    metric="accuracy",
    split="test",
    files=("a1", "a2", "b1", "b2"),
    speakers=("a", "a", "b", "b"),
)


def made_row(method: str, percent: int, seed: int, outcomes: str | tuple[float, ...], value: float) -> Row:
    return Row(
        study="arabic_commands",
        method=method,
        percent=percent,
        seed=seed,
        value=value,
        outcomes=outcomes,
        macs=percent,
        macs_kept=percent / 100,
        params=percent,
        params_kept=percent / 100,
        core_seconds=60.0,
        wall_seconds=90.0,
    )


def made_table(outcomes: dict[tuple[str, int], Sequence[str]]) -> Table:
    """Return a table of keywords from the outcomes of the seeds 0, 1, ... by method and budget."""
    table = Table()
    for (method, percent), found in outcomes.items():
        for seed, each in enumerate(found):
            row = made_row(method, percent, seed, each, each.count("1") / len(each))
            gates = {"expected": 0.5, "target": 0.5, "lag": 0.02} if method == "gates" else {}
            table.add(JUDGED, replace(row, gates=gates))
    return table
