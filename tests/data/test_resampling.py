"""Resampling: torchaudio's filter at usual rates, the same filter at odd ones."""

import resource
import time

import numpy as np
import pytest
import torch
import torchaudio

from prune_ssl.data.resampling import resampled

USUAL_HZ = (8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000)


@pytest.mark.parametrize("rate", USUAL_HZ)
def test_usual_rates_are_resampled_by_torchaudio_bit_for_bit(rate: int) -> None:
    samples = np.random.default_rng(rate).standard_normal(3_000).astype(np.float32)
    plain = torchaudio.functional.resample(torch.from_numpy(samples), rate, 16_000)
    assert np.array_equal(resampled(samples, rate, 16_000), plain.numpy())


@pytest.mark.parametrize("rate", [11_127, 16_001, 12_345, 47_951, 15_999, 99_991, 767_999, 1_009])
def test_rates_without_a_common_factor_get_the_same_filter(rate: int) -> None:
    samples = np.random.default_rng(rate).standard_normal(2_000).astype(np.float32)
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = resampled(samples, rate, 16_000)
    assert time.process_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250_000  # KiB
    cutoff = 0.99 * min(1.0, 16_000 / rate)
    assert len(found) == -(-2_000 * 16_000 // rate)
    for place in range(0, len(found), max(1, len(found) // 50)):
        time_of = (np.arange(2_000) - place * rate / 16_000) * cutoff
        kernel = np.where(np.abs(time_of) < 6, np.sinc(time_of) * np.cos(time_of * np.pi / 12) ** 2, 0)
        assert found[place] == pytest.approx(float(samples @ kernel) * cutoff, abs=1e-5)


def test_the_filter_of_odd_rates_is_that_of_torchaudio(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(0).standard_normal(5_000).astype(np.float32)
    by_table = resampled(samples, 22_050, 16_000)
    monkeypatch.setattr("prune_ssl.data.resampling._MOST_KERNEL_VALUES", 0)
    assert np.abs(resampled(samples, 22_050, 16_000) - by_table).max() < 1e-4  # its phases are float32
