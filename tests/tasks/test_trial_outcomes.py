"""Outcomes of trials: the EER with its interval over speakers, and differences of two models."""

from pathlib import Path

import numpy as np
import pytest

from prune_ssl.data import Clip, all_pairs
from prune_ssl.errors import DataError
from prune_ssl.tasks import paired_difference
from prune_ssl.tasks.intervals import bootstrap
from prune_ssl.tasks.trial_outcomes import ScoredTrials, TrialOutcomes
from prune_ssl.tasks.verification_metrics import equal_error_rate

GENERATOR = np.random.default_rng(0)


def scored_of(speakers: int, clips: int = 4) -> ScoredTrials:
    every = [Clip(Path(f"{s}-{c}.wav"), f"s{s}", 1.0) for s in range(speakers) for c in range(clips)]
    return ScoredTrials(every, all_pairs(every))


def scores_of(scored: ScoredTrials, effect: float = 1.0) -> np.ndarray:
    return GENERATOR.standard_normal(len(scored.same)) + effect * np.asarray(scored.same)


def test_the_eer_depends_on_ranks_alone() -> None:
    scored = scored_of(5)
    scores = scores_of(scored).round(1)  # some are equal
    found = scored.outcomes(scores)
    assert found.value == equal_error_rate(scores, scored.same)
    assert TrialOutcomes.from_data(found.to_data()) == found
    with pytest.raises(DataError, match="run the evaluation again"):
        TrialOutcomes.from_data(found.to_data() | {"same": "0x"})


def test_a_trial_counts_as_often_as_both_of_its_speakers() -> None:
    found = TrialOutcomes((5, 1, 3, 0, 2), (1, 1, 0, 0, 0), (0, 1, 0, 1, 0), (0, 1, 1, 2, 2))
    # Speaker 0 is drawn twice and speaker 1 once: trial 2 is there twice, those of speaker 2 are not.
    assert found.drawn(np.array([0, 1, 0])) == equal_error_rate([5, 5, 1, 3, 3], [1, 1, 1, 0, 0])
    assert np.isnan(found.drawn(np.array([1, 1, 1])))
    assert found.metrics()["eer_speakers"] == 3.0


def test_with_two_speakers_first_clips_are_drawn_with_their_trials() -> None:
    scored = scored_of(2)
    scores, same = scores_of(scored), np.asarray(scored.same)
    found = scored.outcomes(scores)
    groups = [np.flatnonzero(scored.pairs[:, 0] == first) for first in np.unique(scored.pairs[:, 0])]

    def rate(drawn: np.ndarray) -> float:
        chosen = np.concatenate([groups[index] for index in drawn])
        mixed = 0 < same[chosen].sum() < len(chosen)
        return equal_error_rate(scores[chosen], same[chosen]) if mixed else float("nan")

    low, high = bootstrap(rate, len(groups), resamples=1_000)
    assert found.metrics() == {"eer": found.value, "eer_low": low, "eer_high": high}


def test_two_models_are_compared_on_the_same_trials() -> None:
    scored = scored_of(6)
    good = scores_of(scored, 2.0)
    bad = good + GENERATOR.standard_normal(len(good))
    found = paired_difference(scored.outcomes(good), scored.outcomes(bad), resamples=200)
    wanted = equal_error_rate(bad, scored.same) - equal_error_rate(good, scored.same)
    assert found.difference == pytest.approx(wanted, abs=1e-12)
    assert found.low < found.difference < found.high
    assert found.drawn == "by speaker, 6 speakers"
    same = paired_difference(scored.outcomes(good), scored.outcomes(3 * good), resamples=50)
    assert (same.low, same.high) == (0, 0)


@pytest.mark.slow
def test_intervals_over_speakers_cover_the_eer_of_all_speakers() -> None:
    """Speakers differ in how much their clips vary. The truth is the mean EER of corpora of 60 speakers."""

    def scores(scored: ScoredTrials, speakers: int, clips: int = 6) -> np.ndarray:
        centres = GENERATOR.standard_normal((speakers, 1, 8))
        spread = 0.9 * np.exp(0.5 * GENERATOR.standard_normal((speakers, 1, 1)))
        noise = spread * GENERATOR.standard_normal((speakers, clips, 8))
        units = (centres + noise).reshape(-1, 8)
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        return (units[scored.pairs[:, 0]] * units[scored.pairs[:, 1]]).sum(axis=1)

    many, few = scored_of(60, 6), scored_of(8, 6)
    truth = np.mean([equal_error_rate(scores(many, 60), many.same) for _ in range(20)])
    covered, runs = np.zeros(2), 60
    for _ in range(runs):
        by_speaker = few.outcomes(scores(few, 8))
        by_clip = TrialOutcomes(by_speaker.scores, by_speaker.same, tuple(few.pairs[:, 0].tolist()))
        for place, each in enumerate((by_clip, by_speaker)):
            low, high = each.interval(resamples=150)
            covered[place] += low <= truth <= high
    assert covered[1] / runs >= 0.88
    assert covered[1] > covered[0] + 0.1 * runs
