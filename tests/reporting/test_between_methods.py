"""Differences between the methods of a sweep: paired by clips and seeds."""

import csv
import io
from math import sqrt
from statistics import mean, stdev

import numpy as np
import pytest

from prune_ssl.reporting.between_methods import difference_cells, method_differences
from prune_ssl.reporting.pareto import pareto_csv, pareto_html
from prune_ssl.reporting.sweep_point import SweepPoint
from prune_ssl.tasks import Outcomes, paired_difference

GENERATOR = np.random.default_rng(0)
SPEAKERS = tuple(range(5)) * 20
CHANCES = {"gates": 0.9, "one_shot/taylor": 0.8, "iterative/<b>": 0.5}


def point(method: str, seed: int, budget: str = "macs=50%", checksum: str = "a") -> SweepPoint:
    hits = tuple(GENERATOR.binomial(1, CHANCES[method], 100).tolist())
    outcomes = Outcomes("accuracy", hits, (), SPEAKERS, checksum=checksum)
    return SweepPoint(
        budget=budget,
        method=method,
        seed=seed,
        metric="accuracy",
        value=outcomes.value,
        cut=None,
        dense=None,
        macs=1,
        macs_kept=0.5,
        params=1,
        params_kept=0.5,
        latency_ms=None,
        latency_kept=None,
        folder="f",
        outcomes=outcomes,
    )


POINTS = [point(method, seed) for seed in range(3) for method in CHANCES]


def test_methods_are_compared_with_the_first_seed_by_seed() -> None:
    taylor, iterative = method_differences(POINTS)
    assert (taylor.method, taylor.against, iterative.method) == ("one_shot/taylor", "gates", "iterative/<b>")
    values = [POINTS[3 * seed + 1].value - POINTS[3 * seed].value for seed in range(3)]
    assert [each.difference for each in taylor.by_seed.values()] == pytest.approx(values, abs=1e-12)
    assert taylor.overall.difference == pytest.approx(mean(values), abs=1e-12)
    assert taylor.seed_error == pytest.approx(stdev(values) / sqrt(3))
    pooled = [[POINTS[3 * seed + index].outcomes for seed in range(3)] for index in (0, 1)]
    assert taylor.overall == paired_difference(*pooled)
    cells = difference_cells(taylor)
    assert cells[:3] == ["one_shot/taylor", "macs=50%", "0, 1, 2"]
    assert cells[3].startswith(f"{100 * mean(values):+.1f} points (")
    assert cells[-1] == "by speaker, 5 speakers"


def test_only_the_same_budget_seed_and_clips_are_compared() -> None:
    first = point("gates", 0)
    others = [
        point("one_shot/taylor", 0, "macs=25%"),
        point("one_shot/taylor", 1),
        point("one_shot/taylor", 0, checksum="b"),
    ]
    for other in others:
        assert method_differences([first, other]) == []
    (alone,) = method_differences([first, point("one_shot/taylor", 0)])
    assert alone.seed_error is None
    assert difference_cells(alone)[4] == "-"


def test_page_and_csv_hold_the_differences() -> None:
    page = pareto_html(POINTS, "Sweep").replace("\N{NO-BREAK SPACE}", " ")
    found = method_differences(POINTS)
    for each in found:
        assert difference_cells(each)[3] in page
    assert "<b>" not in page
    assert "Differences between methods" not in pareto_html(POINTS[:1], "Sweep")
    rows = list(csv.DictReader(io.StringIO(pareto_csv(POINTS))))
    assert rows[0]["against"] == ""
    assert "outcomes" not in rows[0]
    assert rows[1]["against"] == "gates"
    assert float(rows[4]["difference"]) == found[0].by_seed[1].difference
    assert rows[4]["difference_drawn"] == "by speaker, 5 speakers"
