"""Task metrics against slow versions that follow the definitions word by word."""

import itertools
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.errors import DataError
from prune_ssl.tasks.intervals import bootstrap, bootstrap_interval, bootstrap_ratio
from prune_ssl.tasks.metrics import (
    CharacterErrorRate,
    EqualErrorRate,
    MinDetectionCost,
    PhonemeErrorRate,
    SlotF1,
    WordErrorRate,
    edit_counts,
)
from prune_ssl.tasks.verification_metrics import equal_error_rate, min_detection_cost


def slow_edits(found: tuple[str, ...], wanted: tuple[str, ...]) -> int:
    """Levenshtein distance straight from its recursion."""

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        same = found[i - 1] == wanted[j - 1]
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (not same))

    return distance(len(found), len(wanted))


def slow_rates(scores: list[float], targets: list[int], threshold: float) -> tuple[float, float]:
    """Miss and false alarm rate of accepting every score above the threshold."""
    wanted = [s for s, t in zip(scores, targets, strict=True) if t]
    others = [s for s, t in zip(scores, targets, strict=True) if not t]
    misses = sum(s <= threshold for s in wanted) / len(wanted)
    return misses, sum(s > threshold for s in others) / len(others)


def slow_points(scores: list[float], targets: list[int]) -> list[tuple[float, float]]:
    return [slow_rates(scores, targets, threshold) for threshold in [-np.inf, *sorted(set(scores))]]


def slow_eer(scores: list[float], targets: list[int]) -> float:
    """Where the broken line of (miss, false alarm) points meets the diagonal, found by bisection on it."""
    points = slow_points(scores, targets)
    for (m0, a0), (m1, a1) in itertools.pairwise(points):
        if m0 <= a0 and m1 >= a1:
            low, high = 0.0, 1.0
            for _ in range(80):
                middle = (low + high) / 2
                ahead = m0 + middle * (m1 - m0) >= a0 + middle * (a1 - a0)
                low, high = (low, middle) if ahead else (middle, high)
            return m0 + high * (m1 - m0)
    raise AssertionError("the line never crosses")


WORDS = st.lists(st.sampled_from(["a", "b", "cc", "d"]), min_size=1, max_size=7).map(" ".join)
MAYBE_EMPTY = st.one_of(st.just(""), WORDS)


@given(st.lists(st.tuples(MAYBE_EMPTY, WORDS), min_size=1, max_size=5))
def test_edit_rates_equal_the_recursion(pairs: list[tuple[str, str]]) -> None:
    predictions, references = [found for found, _ in pairs], [wanted for _, wanted in pairs]
    counts = edit_counts(predictions, references)
    edits = [slow_edits(tuple(f.split()), tuple(w.split())) for f, w in pairs]
    words = [len(wanted.split()) for wanted in references]
    assert counts.errors.tolist() == edits
    assert counts.lengths.tolist() == words
    assert counts.rate == sum(edits) / sum(words)
    letters = edit_counts(predictions, references, "character")
    assert letters.errors.tolist() == [slow_edits(tuple(f), tuple(w)) for f, w in pairs]
    assert letters.lengths.tolist() == [len(wanted) for wanted in references]


def test_the_metric_classes_pool_all_clips() -> None:
    predictions, references = ["a x c y", "d"], ["a b c", "d"]  # 1 substitution and 1 insertion in 4 words
    assert WordErrorRate().compute(predictions=predictions, references=references) == {"wer": 2 / 4}
    assert PhonemeErrorRate().compute(predictions=predictions, references=references) == {"per": 2 / 4}
    assert CharacterErrorRate().compute(predictions=predictions, references=references) == {"cer": 3 / 6}
    metric = WordErrorRate()
    for found, wanted in zip(predictions, references, strict=True):
        metric.add(prediction=found, reference=wanted)
    assert metric.compute() == {"wer": 2 / 4}


@pytest.mark.parametrize(
    ("predictions", "references", "words"),
    [([], [], "0 predictions for 0"), (["a"], ["a", "b"], "1 predictions for 2"), (["a"], [" "], "is empty")],
)
def test_texts_without_an_error_rate_are_refused(
    predictions: list[str], references: list[str], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        edit_counts(predictions, references)


TRIALS = st.lists(st.tuples(st.integers(-6, 6), st.booleans()), min_size=2, max_size=30).filter(
    lambda trials: len({target for _, target in trials}) == 2
)


@given(TRIALS)
def test_eer_and_min_dcf_equal_the_slow_versions(trials: list[tuple[int, bool]]) -> None:
    scores, targets = [s / 4 for s, _ in trials], [int(t) for _, t in trials]
    assert equal_error_rate(scores, targets) == pytest.approx(slow_eer(scores, targets), abs=1e-12)
    points = slow_points(scores, targets)
    for prior in (0.05, 0.5, 0.9):
        costs = [prior * miss + (1 - prior) * alarm for miss, alarm in points]
        wanted = min(costs) / min(prior, 1 - prior)
        assert min_detection_cost(scores, targets, prior) == pytest.approx(wanted, abs=1e-12)


def test_eer_of_known_trials() -> None:
    assert equal_error_rate([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0]) == 0
    assert equal_error_rate([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0]) == 1
    assert equal_error_rate([0.5] * 4, [1, 1, 0, 0]) == 0.5  # scores that say nothing
    assert EqualErrorRate().compute(predictions=[0.9, 0.3, 0.6, 0.1], references=[1, 1, 0, 0]) == {"eer": 0.5}
    generator = np.random.default_rng(0)
    scores = np.concatenate([generator.normal(1, 1, 40_000), generator.normal(-1, 1, 40_000)])
    # Two unit normals two apart: both errors are Phi(-1).
    assert equal_error_rate(scores, [1] * 40_000 + [0] * 40_000) == pytest.approx(0.158655, abs=3e-3)


def test_min_dcf_never_exceeds_the_trivial_system() -> None:
    result = MinDetectionCost().compute(predictions=[0.1, 0.9], references=[1, 0])
    assert result == {"min_dcf": 1.0}


@pytest.mark.parametrize(("scores", "targets"), [([1.0], [1]), ([1.0, np.nan], [1, 0]), ([1.0], [1, 0])])
def test_trials_without_an_eer_are_refused(scores: list[float], targets: list[int]) -> None:
    with pytest.raises(DataError, match="error_rates"):
        equal_error_rate(scores, targets)


def test_slot_f1_pools_pairs_and_knows_absent_slots() -> None:
    references = [["drink=latte", "milk=none", "size=big"], ["drink=mocha", "milk=oat"]]
    predictions = [["drink=latte", "milk=oat", "size=none"], ["drink=mocha", "milk=oat"]]
    # 3 right, 4 given (latte, oat, mocha, oat), 4 wanted.
    assert SlotF1().compute(predictions=predictions, references=references) == {"f1": 0.75}
    assert SlotF1().compute(predictions=[["milk=none"]], references=[["milk=none"]]) == {"f1": 1.0}


def test_the_interval_of_a_ratio_draws_clips_and_agrees_with_the_delta_method() -> None:
    generator = np.random.default_rng(1)
    lengths = generator.integers(1, 12, size=800)
    errors = generator.binomial(lengths, 0.3)
    low, high = bootstrap_ratio(errors, lengths)
    rate = errors.sum() / lengths.sum()
    # Variance of a ratio estimator, Cochran (1977), eq. 2.39.
    half = 1.96 * np.sqrt(((errors - rate * lengths) ** 2).mean() / len(lengths)) / lengths.mean()
    assert low == pytest.approx(rate - half, abs=2e-3)
    assert high == pytest.approx(rate + half, abs=2e-3)
    assert bootstrap_ratio(errors, lengths) == (low, high)
    assert bootstrap_ratio(errors, lengths, seed=1) != (low, high)


def test_a_ratio_with_equal_denominators_is_a_mean() -> None:
    values = np.array([0.0, 2.0, 1.0, 4.0])
    assert bootstrap_ratio(values, np.full(4, 2.0)) == bootstrap_interval(values / 2)


def test_the_bootstrap_takes_any_statistic() -> None:
    values = np.arange(100.0)
    low, high = bootstrap(lambda drawn: float(np.median(values[drawn])), 100)
    assert 30 < low < 49.5 < high < 70


@pytest.mark.parametrize(
    ("numerators", "denominators"), [([], []), ([1.0], [0.0]), ([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])]
)
def test_a_meaningless_ratio_is_refused(numerators: list[float], denominators: list[float]) -> None:
    with pytest.raises(DataError, match="bootstrap_ratio"):
        bootstrap_ratio(numerators, denominators)


def test_metrics_open_no_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setenv("HOME", str(tmp_path / "no_home"))
    for metric in (WordErrorRate(), CharacterErrorRate(), PhonemeErrorRate()):
        assert list(metric.compute(predictions=["a"], references=["a"]).values()) == [0.0]
    for metric in (EqualErrorRate(), MinDetectionCost()):
        assert list(metric.compute(predictions=[0.9, 0.1], references=[1, 0]).values()) == [0.0]
    assert not (tmp_path / "no_home").exists()
