"""Outcomes on each clip: their metric and interval, their text for JSON, and differences of two models."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import EvalPrediction

from prune_ssl.data import Clip
from prune_ssl.errors import DataError
from prune_ssl.tasks import Classification, Outcomes, paired_difference
from prune_ssl.tasks.intervals import bootstrap_interval, bootstrap_ratio, clusters_of
from tests.support.models import tiny_model

GENERATOR = np.random.default_rng(0)
SPEAKERS = (0, 1, 2, 3, 4, 5, *GENERATOR.integers(0, 6, 234).tolist())
CLIPS = [Clip(Path(f"test/{index}.wav"), "no", 1.0, f"s{each}") for index, each in enumerate(SPEAKERS)]


def hits(chance: float) -> np.ndarray:
    return GENERATOR.binomial(1, chance, 240)


def test_the_value_and_interval_are_those_of_a_ratio_over_speakers() -> None:
    errors, words = GENERATOR.integers(0, 4, 240), GENERATOR.integers(4, 8, 240)
    found = Outcomes.on(CLIPS, "wer", errors, words)
    assert found.value == errors.sum() / words.sum()
    assert found.interval() == bootstrap_ratio(errors, words, clusters=SPEAKERS)
    low, high = found.interval()
    assert found.metrics() == {"wer": found.value, "wer_low": low, "wer_high": high, "wer_speakers": 6.0}
    alone = Outcomes.on([replace(clip, speaker=None) for clip in CLIPS], "accuracy", errors > 1)
    assert alone.interval() == bootstrap_interval(errors > 1)
    assert "accuracy_speakers" not in alone.metrics()


def test_clips_without_a_speaker_are_drawn_alone() -> None:
    assert clusters_of(["a", "", "b", "a", None]).tolist() == [0, 1, 2, 0, 3]
    assert clusters_of(["a", None, "a"]) is None


@pytest.mark.parametrize(
    "outcomes",
    [
        Outcomes("accuracy", (1, 0, 1)),
        Outcomes("wer", (12,), (20,)),
        Outcomes("wer", (0, 1, 12), (4, 5, 20), (0, 0, 1), checksum="af"),
        Outcomes("score", (0.1, 2.5), (1, 0.3)),
    ],
)
def test_outcomes_are_read_as_they_were_written(outcomes: Outcomes) -> None:
    assert Outcomes.from_data(outcomes.to_data()) == outcomes
    damaged = outcomes.to_data() | {"numerators": "1 x"}
    with pytest.raises(DataError, match="run the evaluation again"):
        Outcomes.from_data(damaged)


def test_a_judge_keeps_the_outcomes_of_its_last_evaluation() -> None:
    judge = Classification(("no", "yes")).judge(CLIPS, tiny_model())
    logits = np.stack([hits(0.5), np.full(240, 0.5)], axis=1)
    found = judge(EvalPrediction(logits, np.zeros(240, dtype=np.int64)))
    assert judge.outcomes == Outcomes.on(CLIPS, "accuracy", logits[:, 0])
    assert found == {**judge.outcomes.metrics(), "clips": 240.0}


def test_a_difference_is_that_of_means_of_paired_clips() -> None:
    before, after = hits(0.8), hits(0.7)
    plain = [Outcomes("accuracy", tuple(each.tolist())) for each in (before, after)]
    found = paired_difference(*plain)
    assert found.difference == pytest.approx(after.mean() - before.mean(), abs=1e-12)
    assert (found.low, found.high) == pytest.approx(bootstrap_interval(after - before), abs=1e-12)
    assert found.standard_error == pytest.approx((after - before).std(ddof=1) / np.sqrt(240), rel=0.05)
    assert paired_difference(plain[1], plain[0]).difference == -found.difference
    by_speaker = paired_difference(*[Outcomes.on(CLIPS, "accuracy", each) for each in (before, after)])
    assert by_speaker.drawn == "by speaker, 6 speakers"
    wanted = bootstrap_interval(after - before, clusters=SPEAKERS)
    assert (by_speaker.low, by_speaker.high) == pytest.approx(wanted, abs=1e-12)


def test_a_difference_over_seeds_is_the_mean_of_those_of_each_seed() -> None:
    before, after = (
        [Outcomes("accuracy", tuple(hits(chance).tolist())) for _ in range(3)] for chance in (0.8, 0.6)
    )
    found = paired_difference(before, after)
    each = [paired_difference(one, other).difference for one, other in zip(before, after, strict=True)]
    assert found.difference == pytest.approx(np.mean(each), abs=1e-12)
    assert found.standard_error < paired_difference(before[0], after[0]).standard_error
    same = paired_difference(before, before)
    assert (same.difference, same.low, same.high, same.standard_error) == (0, 0, 0, 0)


def test_speakers_that_agree_by_chance_do_not_make_a_difference_surer() -> None:
    before, after = (1, 0, 1, 0) * 30, (1, 1, 1, 0) * 30
    found = paired_difference(
        *[Outcomes("accuracy", each, (), (0, 0, 0, 0, 1, 1, 1, 1) * 15) for each in (before, after)]
    )
    alone = paired_difference(*[Outcomes("accuracy", each) for each in (before, after)])
    assert (found.difference, found.low, found.high) == (alone.difference, alone.low, alone.high)
    assert found.standard_error == alone.standard_error > 0
    assert found.drawn == "by speaker, 2 speakers"


def test_what_is_hard_for_both_models_is_no_noise_of_their_difference() -> None:
    before = hits(0.6)
    after = before.copy()
    after[:6] = 1
    found = paired_difference(*[Outcomes("accuracy", tuple(each.tolist())) for each in (before, after)])
    low, high = bootstrap_interval(before)
    assert found.high - found.low < (high - low) / 3


@pytest.mark.parametrize(
    "other",
    [
        Outcomes("f1", (1, 0), checksum="a"),
        Outcomes("accuracy", (1, 0), checksum="b"),
        Outcomes("accuracy", (1, 0, 1), checksum="a"),
        [],
    ],
)
def test_outcomes_on_other_clips_are_not_compared(other: Outcomes) -> None:
    with pytest.raises(DataError, match="on the same clips in the same order"):
        paired_difference(Outcomes("accuracy", (1, 0), checksum="a"), other)


@pytest.mark.parametrize(
    ("numerators", "denominators", "speakers"),
    [((), (), ()), ((1,), (0,), ()), ((1, 1), (1,), ()), ((1,), (), (0, 1))],
)
def test_meaningless_outcomes_are_refused(numerators, denominators, speakers) -> None:
    with pytest.raises(DataError, match="Outcomes"):
        Outcomes("wer", numerators, denominators, speakers)
