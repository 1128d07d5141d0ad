"""Scatter plots: their ticks, their shapes, and markers that would hide one another."""

import re
from itertools import pairwise

import pytest

from prune_ssl.reporting.scatter import (
    COLOURS,
    SHAPES,
    Dot,
    Frame,
    scatter_plot,
    styles_of,
    tick_labels,
    ticks,
)

FRAME = Frame(label="accuracy by MACs", x_title="MACs", x_percent=True, y_percent=True, level=0.9)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.27, 0.81), (0.89, 0.93), (0.0, 1.37), (3.0, 250.0)])
def test_ticks_are_round_and_neither_few_nor_many(low, high):
    found = ticks(low, high)
    assert 3 <= len(found) <= 9
    assert low <= found[0]
    assert found[-1] <= high
    mantissa = f"{found[1] - found[0]:.3e}".partition("e")[0]
    assert float(mantissa) in (1.0, 2.0, 5.0)


@pytest.mark.parametrize(
    ("low", "high", "percent"), [(0.0825, 0.0842, True), (8.0, 8.4, False), (0, 1, True)]
)
def test_no_two_ticks_read_alike(low, high, percent):
    labels = tick_labels(ticks(low, high), percent)
    assert len(set(labels)) == len(labels)


def test_points_that_coincide_are_all_seen():
    drawn = scatter_plot([Dot(0.5, 0.8, name, name=name) for name in "abcdefgh"], FRAME)
    circles = re.findall(r'class="dot" cx="([\d.]+)"', drawn)
    moved = re.findall(r'class="dot" points="[^"]*" transform="translate\(([\d.]+)', drawn)
    places = sorted(map(float, circles + moved))
    assert len(places) == 8
    assert min(b - a for a, b in pairwise(places)) > 12
    assert drawn.count('class="aside"') == 7


def test_a_pair_of_shape_and_colour_is_not_used_twice():
    assert len(set(styles_of([str(n) for n in range(40)]).values())) == 40
    assert len(COLOURS) % len(SHAPES)


def test_hostile_texts_are_escaped():
    drawn = scatter_plot([Dot(0.5, 0.8, "<b>", name="<i>", note="&", link='"')], FRAME)
    assert not {"<b>", "<i>"} & set(re.findall(r"<\w>", drawn))
