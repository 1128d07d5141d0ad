"""Resampling between any two rates with one filter and bounded memory and time.

Letters: N samples, L taps of the filter.
"""

from __future__ import annotations

from math import ceil, gcd

import numpy as np
import numpy.typing as npt
import torch
import torchaudio

Waveform = npt.NDArray[np.float32]

# torchaudio's defaults: a sinc in a Hann window, six zero crossings wide on either side.
_CROSSINGS, _ROLLOFF = 6, 0.99

_MOST_KERNEL_VALUES = 1 << 22
"""torchaudio keeps one filter per phase between the rates. Rates without a common factor need millions."""

_PHASES = 4_096  # linear interpolation between two of them errs by less than 1e-7 of full scale
_CHUNK_VALUES = 1 << 20


def resampled(samples: Waveform, found_hz: int, wanted_hz: int) -> Waveform:
    """Resample samples of shape (N,) to shape (ceil(N wanted_hz / found_hz),).

    torchaudio resamples between the usual rates. For rates without a common factor its table of filters
    would take gigabytes. They get the same filter, interpolated from a smaller table. The error is less than
    1e-6 of full scale; torchaudio's own rounding of the phase gives 1e-5.
    """
    common = gcd(found_hz, wanted_hz)
    found, wanted = found_hz // common, wanted_hz // common
    if found == wanted or samples.size == 0:
        return samples
    reach = _reach(found, wanted)
    if wanted * (2 * reach + found) <= _MOST_KERNEL_VALUES:
        result = torchaudio.functional.resample(torch.from_numpy(samples), found, wanted)
        return np.asarray(result.numpy(), dtype=np.float32)
    return _interpolated(samples, found, wanted)


def _reach(found: int, wanted: int) -> int:
    """Return how many samples on either side of a place the filter reads."""
    return ceil(_CROSSINGS * found / (min(found, wanted) * _ROLLOFF))


def _interpolated(samples: Waveform, found: int, wanted: int) -> Waveform:
    reach = _reach(found, wanted)
    table = _kernels(found, wanted, reach)
    slopes = np.diff(table, axis=0)
    length = -(-len(samples) * wanted // found)
    pieces = np.lib.stride_tricks.sliding_window_view(np.pad(samples, (reach, reach + 1)), table.shape[1])
    result = np.empty(length, dtype=np.float32)
    step = max(1, _CHUNK_VALUES // table.shape[1])
    for start in range(0, length, step):
        # Integers, because a float would lose the phase of late samples.
        places = np.arange(start, min(start + step, length), dtype=np.int64) * found
        first, phase = np.divmod(places, wanted)
        entry, between = np.divmod(phase * _PHASES, wanted)
        kernels = table[entry] + slopes[entry] * (between / wanted).astype(np.float32)[:, None]
        result[start : start + step] = np.einsum("nl,nl->n", kernels, pieces[first])
    return result


def _kernels(found: int, wanted: int, reach: int) -> npt.NDArray[np.float32]:
    """Return the filters (phases + 1, L) for places that lie 0, 1/phases, ..., 1 after a sample."""
    cutoff = min(found, wanted) * _ROLLOFF / found
    taps = np.arange(-reach, reach + 2, dtype=np.float64)
    time = (taps - np.arange(_PHASES + 1)[:, None] / _PHASES) * cutoff
    time = time.clip(-_CROSSINGS, _CROSSINGS)
    kernels = np.sinc(time) * np.cos(time * np.pi / _CROSSINGS / 2) ** 2 * cutoff
    return np.asarray(kernels, dtype=np.float32)
