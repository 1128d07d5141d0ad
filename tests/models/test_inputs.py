"""Kinds of input: their shapes for a length of audio."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.models.inputs import FILTERBANK_KERNEL, SAMPLE_RATE_HZ, WAVEFORM, Filterbank, Waveform

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
    assert not kind.is_waveform
    assert WAVEFORM.is_waveform
