"""Kinds of input: their shapes for a length of audio."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.errors import ModelError
from prune_ssl.models.inputs import (
    FILTERBANK_KERNEL,
    SAMPLE_RATE_HZ,
    WAVEFORM,
    Filterbank,
    LogMel,
    Waveform,
)

CONFIG = SimpleNamespace(width=7)


@given(samples=st.integers(0, 10**6))
def test_a_waveform_has_a_sample_for_each_of_the_audio(samples: int) -> None:
    seconds = samples / SAMPLE_RATE_HZ
    assert WAVEFORM.shape(seconds, None) == (1, samples)
    assert Waveform(channel_axis=True).shape(seconds, None) == (1, 1, samples)
    assert WAVEFORM.kernels() == ()


@given(samples=st.integers(0, 50_000), stack=st.integers(1, 3))
def test_features_are_windows_of_which_some_make_a_frame(samples: int, stack: int) -> None:
    window, hop = FILTERBANK_KERNEL
    windows = len(range(0, samples - window + 1, hop))
    _, frames, width = Filterbank(stack, "width").shape(samples / SAMPLE_RATE_HZ, CONFIG)
    assert frames == -(-windows // stack)
    assert width == 7


@pytest.mark.parametrize("stack", [1, 2])
def test_windows_come_before_their_stacking(stack: int) -> None:
    kind = Filterbank(stack, "width")
    assert kind.kernels() == ((400, 160), (1, stack))
    assert kind.fixed_samples(CONFIG) is None
    assert (kind.name, WAVEFORM.name) == ("input_features", "input_values")


def test_time_is_the_axis_that_grows_with_the_audio() -> None:
    for kind in (WAVEFORM, Waveform(channel_axis=True), Filterbank(2, "width")):
        short, long = kind.shape(0.5, CONFIG), kind.shape(1.0, CONFIG)
        assert [axis for axis in range(len(short)) if short[axis] != long[axis]] == [kind.time_axis]


def test_an_extractor_normalises_and_masks_where_the_models_norm_allows_it() -> None:
    for norm, masked in (("layer", True), ("group", False)):
        extractor = WAVEFORM.new_extractor(SimpleNamespace(feat_extract_norm=norm))
        assert extractor.do_normalize is True
        assert extractor.return_attention_mask is masked
    with pytest.raises(ModelError, match="filterbank features"):
        Filterbank(2, "width").new_extractor(CONFIG)


MEL = LogMel("bins", "positions", "WhisperFeatureExtractor")
WHISPER = SimpleNamespace(bins=8, positions=50)


@given(seconds=st.floats(0.01, 60))
def test_a_spectrogram_of_fixed_length_is_the_same_for_any_audio(seconds: float) -> None:
    shape = MEL.shape(seconds, WHISPER)
    samples = MEL.fixed_samples(WHISPER)
    assert shape == MEL.shape(1.0, WHISPER)
    assert 8 in shape
    frames = next(size for size in shape[1:] if size != 8)
    assert samples == frames * 160
    assert MEL.time_axis is None
