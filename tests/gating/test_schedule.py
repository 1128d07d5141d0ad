"""Schedules: how far gates travel, and where a target stands, as closed forms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.gating import schedule
from prune_ssl.gating.schedule import (
    SHAPES,
    gate_learning_rate,
    initial_keep,
    learning_rate_factor,
    ramp,
    warmup,
)


@pytest.mark.parametrize(
    ("steps", "rate"), [(420, 8 / 105), (1_600, 0.02), (50_000, 0.02), (10, 0.3), (1, 0.3)]
)
def test_a_gate_travels_eight_in_a_quarter_of_the_steps_within_bounds(steps: int, rate: float) -> None:
    assert gate_learning_rate(steps) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("steps", "keep", "part"), [(1, 0.95, 0.9), (500, 0.95, 0.9), (5_000, 0.99, 0.6), (10**6, 0.99, 0.6)]
)
def test_short_and_long_runs_start_at_the_ends(steps: int, keep: float, part: float) -> None:
    assert initial_keep(steps) == pytest.approx(keep)
    assert warmup(steps) == pytest.approx(part)


def test_between_the_ends_the_logarithm_decides() -> None:
    middle = round((500 * 5_000) ** 0.5)
    assert initial_keep(middle) == pytest.approx(0.97, abs=1e-4)
    assert warmup(middle) == pytest.approx(0.75, abs=1e-3)


@given(kept=st.floats(1e-3, 1), of_that=st.floats(1e-3, 1))
def test_rates_of_two_cuts_multiply_to_that_of_both(kept: float, of_that: float) -> None:
    both = learning_rate_factor(kept) * learning_rate_factor(of_that)
    assert learning_rate_factor(kept * of_that) == pytest.approx(both)
    assert learning_rate_factor(1.0) == 1.0 <= learning_rate_factor(kept)


@pytest.mark.parametrize("shape", SHAPES)
@given(
    steps=st.integers(1, 10_000),
    part=st.floats(0, 1),
    start=st.floats(0, 1),
    goal=st.floats(0, 1),
    data=st.data(),
)
def test_a_ramp_goes_one_way_from_start_to_goal_and_stays(shape, steps, part, start, goal, data) -> None:
    def at(step: int) -> float:
        return ramp(step, steps, part, start, goal, shape)

    assert at(0) == pytest.approx(start)
    assert at(steps) == pytest.approx(goal)
    first = data.draw(st.integers(0, steps))
    second = data.draw(st.integers(first, steps))
    assert (at(second) - at(first)) * (goal - start) >= -1e-12


@pytest.mark.parametrize(("shape", "half"), [("linear", 1 / 2), ("cubic", 1 / 8), ("sigmoid", 1 / 2)])
def test_what_is_left_in_the_middle(shape: str, half: float) -> None:
    assert ramp(50, 100, 1.0, 1.0, 0.0, shape) == pytest.approx(half)
    assert ramp(25, 100, 0.5, 3.0, 1.0, shape) == pytest.approx(1 + 2 * half)


def test_rates_follow_from_the_number_of_steps():
    assert schedule.gate_learning_rate(50_000) == 0.02
    assert schedule.gate_learning_rate(400) == pytest.approx(0.08)
    assert schedule.initial_keep(100) == 0.95
    assert schedule.initial_keep(50_000) == 0.99
    assert 0.95 < schedule.initial_keep(1500) < 0.99
    assert [schedule.ramp(step, 100, 0.5, 0.9, 0.4) for step in (0, 25, 50, 99)] == pytest.approx(
        [0.9, 0.65, 0.4, 0.4]
    )


def test_ramps_have_their_closed_forms():
    times = [0, 10, 25, 40, 50, 99]
    linear, cubic, sigmoid = (
        [schedule.ramp(step, 100, 0.5, 0.9, 0.4, shape) for step in times]
        for shape in ("linear", "cubic", "sigmoid")
    )
    assert linear == pytest.approx([0.9, 0.8, 0.65, 0.5, 0.4, 0.4])
    assert cubic == pytest.approx([0.4 + 0.5 * (1 - min(t / 50, 1)) ** 3 for t in times])
    assert sigmoid[0] == pytest.approx(0.9)
    assert sigmoid[2] == pytest.approx(0.65)
    assert sigmoid[4] == sigmoid[5] == pytest.approx(0.4)
    middle = 1 / (1 + math.exp(5 * (2 * 0.2 - 1)))
    ends = 1 / (1 + math.exp(-5)), 1 / (1 + math.exp(5))
    assert sigmoid[1] == pytest.approx(0.4 + 0.5 * (middle - ends[1]) / (ends[0] - ends[1]))
    assert cubic[2] < linear[2] == pytest.approx(sigmoid[2])
