"""Bootstrap intervals: of means, ratios and any statistic, against their normal approximations."""

import numpy as np
import pytest

from prune_ssl.errors import DataError
from prune_ssl.tasks.intervals import bootstrap, bootstrap_interval, bootstrap_ratio, widening


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


def test_the_bootstrap_interval_agrees_with_the_normal_one_for_many_values() -> None:
    values = np.arange(2_000) % 5 > 0  # mean 0.8
    low, high = bootstrap_interval(values)
    half = 1.96 * np.sqrt(0.8 * 0.2 / 2_000)
    assert low == pytest.approx(0.8 - half, abs=2e-3)
    assert high == pytest.approx(0.8 + half, abs=2e-3)
    assert bootstrap_interval(values) == (low, high)


def test_the_bootstrap_interval_of_equal_values_is_a_point() -> None:
    assert bootstrap_interval([1.0, 1.0, 1.0]) == (1.0, 1.0)


@pytest.mark.parametrize(("values", "confidence"), [([], 0.95), ([[1.0]], 0.95), ([1.0], 95.0)])
def test_a_meaningless_interval_is_refused(values: list[float], confidence: float) -> None:
    with pytest.raises(DataError, match="bootstrap"):
        bootstrap_interval(values, confidence)


def test_speakers_are_drawn_with_all_their_clips() -> None:
    generator = np.random.default_rng(0)
    speakers = np.repeat(np.arange(40), 25)
    hits = generator.binomial(1, np.repeat(generator.uniform(0.5, 1.0, 40), 25))
    low, high = bootstrap_interval(hits, clusters=speakers)
    # Variance of a mean of equal clusters, with Student's quantile of 39 degrees of freedom.
    means = hits.reshape(40, 25).mean(axis=1)
    half = 2.0227 * means.std(ddof=1) / np.sqrt(40)
    assert (low, high) == pytest.approx((hits.mean() - half, hits.mean() + half), abs=4e-3)
    shuffled = generator.permutation(1_000)
    again = bootstrap_interval(hits[shuffled], clusters=speakers[shuffled])
    assert again == pytest.approx((low, high), abs=1e-12)
    assert bootstrap(lambda drawn: float(hits[drawn].mean()), 1_000, clusters=speakers) == (low, high)
    own = bootstrap_interval(hits, clusters=np.arange(1_000))  # each clip has a speaker of its own
    assert own == pytest.approx(bootstrap_interval(hits), abs=1e-3)


def test_an_interval_over_speakers_stays_within_what_a_ratio_can_reach() -> None:
    clusters = [0, 0, 1, 1]
    assert bootstrap_interval([0, 0, 1, 1], clusters=clusters) == (0.0, 1.0)
    assert bootstrap_ratio([0, 0, 9, 1], [3, 1, 3, 1], clusters=clusters) == (0.0, 3.0)
    assert bootstrap_interval([1, 1, 1, 1], clusters=clusters) == (1.0, 1.0)


def test_speakers_that_agree_by_chance_do_not_make_the_interval_narrower() -> None:
    hits, clusters = [1, 0] * 60, np.repeat([0, 1, 2], 40)
    assert bootstrap_interval(hits, clusters=clusters) == bootstrap_interval(hits)


def test_widening_is_that_of_student() -> None:
    # Quantiles of Student's distribution at 0.975, from a printed table.
    for clusters, quantile in ((2, 12.706), (3, 4.303), (5, 2.776), (11, 2.228), (31, 2.042)):
        wanted = np.sqrt(clusters / (clusters - 1)) * quantile / 1.95996
        assert widening(clusters) == pytest.approx(wanted, rel=2e-4)
    assert 1 < widening(100_000) < 1.0001


@pytest.mark.parametrize("clusters", [[0, 0, 0], [0, 1]])
def test_clusters_that_cannot_be_drawn_are_refused(clusters: list[int]) -> None:
    with pytest.raises(DataError, match="at least two different"):
        bootstrap_interval([0.0, 1.0, 1.0], clusters=clusters)


@pytest.mark.slow
@pytest.mark.parametrize(("speakers", "clips"), [(3, 100), (5, 60), (20, 20)])
@pytest.mark.parametrize("effect", [0.4, 0.8])
def test_intervals_over_speakers_cover_the_mean_of_all_speakers(
    speakers: int, clips: int, effect: float
) -> None:
    """The logit of a speaker's accuracy is normal with deviation `effect` around 1.2 (77% right)."""
    generator = np.random.default_rng(0)
    truth = float((1 / (1 + np.exp(-1.2 - effect * generator.standard_normal(10**6)))).mean())
    clusters, runs, covered = np.repeat(np.arange(speakers), clips), 300, np.zeros(2)
    for _ in range(runs):
        chances = 1 / (1 + np.exp(-1.2 - effect * generator.standard_normal(speakers)))
        hits = generator.binomial(1, np.repeat(chances, clips))
        for place, drawn in enumerate((None, clusters)):
            low, high = bootstrap_interval(hits, resamples=200, clusters=drawn)
            covered[place] += low <= truth <= high
    over_clips, over_speakers = covered / runs
    assert over_speakers >= 0.9
    assert over_speakers > over_clips + 0.05
