"""Paired differences of methods and their standard errors."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from methods.paired import jackknife_variance, metric_of, paired_difference, two_way_variance
from methods.results import Judged, load_table

from tests.support.compared import JUDGED, made_row
from tests.support.paths import ROOT

KEPT = ROOT / "benchmarks" / "results" / "methods.jsonl"


def without_each(effects: np.ndarray) -> np.ndarray:
    """The mean over speakers of (K, S) numbers without each speaker."""
    count = len(effects)
    return (effects.sum(axis=0) - effects) / (count - 1)


def test_the_jackknife_variance_of_a_mean_is_that_of_its_numbers_over_their_count() -> None:
    numbers = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
    assert jackknife_variance(without_each(numbers)) == pytest.approx(numbers.var(ddof=1) / 5)


def test_effects_of_speakers_and_of_seeds_each_count_once() -> None:
    speakers, seeds = np.array([0.1, -0.2, 0.4]), np.array([0.3, 0.0, -0.1, 0.2])
    effects = speakers[:, None] + seeds
    wanted = speakers.var(ddof=1) / 3 + seeds.var(ddof=1) / 4
    assert two_way_variance(effects.mean(axis=0), without_each(effects)) == pytest.approx(wanted)


def test_noise_of_single_cells_counts_once_and_not_twice() -> None:
    noise = np.random.default_rng(0).normal(size=(400, 3, 4))
    found = [two_way_variance(each.mean(axis=0), without_each(each)) for each in noise]
    over_seeds = np.mean([each.mean(axis=0).var(ddof=1) / 4 for each in noise])
    over_speakers = np.mean([each.mean(axis=1).var(ddof=1) / 3 for each in noise])
    assert over_seeds + over_speakers == pytest.approx(2 / 12, rel=0.1)
    # The floor at either of the two keeps it above the 1/12 that it would be on average.
    assert 1 / 12 < np.mean(found) < 1.6 / 12


def test_with_one_seed_and_a_speaker_for_each_clip_it_is_the_error_of_a_mean_of_differences() -> None:
    judged = replace(JUDGED, speakers=("a", "b", "c", "d"))
    ours, theirs = made_row("gates", 50, 0, "1101", 0.75), made_row("auto", 50, 0, "1010", 0.5)
    found = paired_difference(judged, {0: ours}, {0: theirs})
    changes = np.array([0, 1, -1, 1])
    assert found.ahead == pytest.approx(changes.mean())
    assert found.error == pytest.approx(changes.std(ddof=1) / sqrt(4)) == pytest.approx(found.over_clips)
    assert found.seeds == (0,)


def test_only_seeds_that_both_have_are_compared() -> None:
    ours = {
        seed: made_row("gates", 50, seed, outcomes, 0.0) for seed, outcomes in enumerate(("1111", "1100"))
    }
    theirs = {1: made_row("auto", 50, 1, "1000", 0.25)}
    found = paired_difference(JUDGED, ours, theirs)
    assert (found.ahead, found.seeds) == (0.25, (1,))
    with pytest.raises(ValueError, match="no seed that both methods have"):
        paired_difference(JUDGED, {0: ours[0]}, theirs)


def test_a_lower_word_error_rate_is_ahead() -> None:
    judged = replace(JUDGED, metric="wer", words=(2, 4, 2, 2))
    ours, theirs = (made_row("", 50, 0, errors, 0.0) for errors in ((0, 1, 0, 1), (1, 2, 1, 1)))
    assert metric_of(judged, ours) == 2 / 10
    assert metric_of(judged, theirs, np.array([True, True, False, False])) == 3 / 6
    assert paired_difference(judged, {0: ours}, {0: theirs}).ahead == pytest.approx(0.3)


def test_a_trial_is_left_out_with_either_of_its_clips() -> None:
    trials = ((0, 1, 1), (2, 3, 1), (0, 2, 0), (1, 3, 0))
    judged: Judged = replace(JUDGED, metric="eer", trials=trials)
    row = made_row("gates", 50, 0, (0.9, 0.2, 0.1, 0.5), 0.5)
    assert metric_of(judged, row) == 0.5
    assert metric_of(judged, row, np.array([True, True, True, False])) == 0.0


def test_the_values_of_the_kept_table_are_those_of_its_outcomes() -> None:
    table = load_table(KEPT)
    assert not KEPT.is_file() or KEPT.stat().st_size <= 2_000_000
    for row in table.rows.values():
        assert metric_of(table.judged[row.study], row) == pytest.approx(row.value)
