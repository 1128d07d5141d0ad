"""Making the shipped words: voices of one split only, trimming, noise, espeak-ng."""

import numpy as np
import pytest

from prune_ssl.assets import SAMPLE_RATE_HZ
from tools.make_words import VARIANTS, Espeak, make_speakers, place_in_noise, trim_silence


def test_no_voice_variant_is_in_two_splits() -> None:
    variants = [speaker.voice.split("+")[1] for split in VARIANTS for speaker in make_speakers(split, seed=0)]
    assert len(set(variants)) == len(variants)


def test_trimming_cuts_the_silences_and_nothing_else() -> None:
    word = np.array([0.5, 0.0, -1.0, 0.25], dtype=np.float32)
    padded = np.concatenate([np.zeros(7, np.float32), word, np.full(5, 0.001, np.float32)])
    np.testing.assert_array_equal(trim_silence(padded), word)


@pytest.mark.parametrize("n_samples", [1_600, 12_000, 20_000])
def test_a_placed_word_is_within_range_and_repeats_with_its_seed(n_samples: int) -> None:
    word = np.sin(np.arange(n_samples) / 5).astype(np.float32)
    first, again, other = (place_in_noise(word, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.dtype == np.float32
    assert 0.6 * SAMPLE_RATE_HZ - 1 <= len(first) <= SAMPLE_RATE_HZ
    assert 0.15 <= np.abs(first).max() <= 0.9 + 1e-6
    np.testing.assert_array_equal(first, again)
    assert len(other) != len(first) or not np.array_equal(first, other)


def test_espeak_speaks_and_refuses_an_unknown_voice_by_name() -> None:
    pytest.importorskip("espeakng_loader")
    espeak = Espeak()
    settings = {"words_per_minute": 160, "pitch": 50, "pitch_range": 50, "seed": 1}
    spoken = espeak.say("yes", voice="en-us+f3", **settings)
    assert 0.2 * SAMPLE_RATE_HZ < len(spoken) < SAMPLE_RATE_HZ
    with pytest.raises(Exception, match="no voice 'xx-nowhere'"):
        espeak.say("yes", voice="xx-nowhere", **settings)


def test_the_same_seed_makes_the_same_speakers() -> None:
    assert make_speakers("test", seed=0) == make_speakers("test", seed=0)
    assert make_speakers("test", seed=0) != make_speakers("test", seed=1)
