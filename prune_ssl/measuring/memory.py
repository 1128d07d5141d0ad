"""The peak memory of one forward pass, and the meaning of that number on each device."""

import ctypes
from pathlib import Path

import torch
from torch import nn

from prune_ssl.profiling.timing import random_waveform
from prune_ssl.selection.calibration import evaluating

PEAK_MEMORY_SCOPE = {
    "cuda": "growth of torch.cuda.max_memory_allocated during one forward pass (weights not included)",
    "cpu": "growth of resident memory during one forward pass (weights not included)",
}
"""The meaning of `peak_memory_bytes` on each device type. Other devices are not measured."""

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def peak_memory_bytes(model: nn.Module, seconds: float) -> int | None:
    """Return the peak memory of one forward pass on `seconds` of audio, batch 1 (see PEAK_MEMORY_SCOPE).

    Returns:
        Bytes, or None if the peak cannot be measured: on devices other than cuda and cpu, and on a CPU
        without the resettable high-water mark of Linux.
    """
    waveform = random_waveform(model, seconds)
    with evaluating([model]), torch.inference_mode():
        if waveform.device.type == "cuda":
            # Other models and optimisers may be resident, so the peak is counted from what is there before.
            torch.cuda.synchronize(waveform.device)
            torch.cuda.reset_peak_memory_stats(waveform.device)
            resident = torch.cuda.memory_allocated(waveform.device)
            model(waveform)
            torch.cuda.synchronize(waveform.device)
            return torch.cuda.max_memory_allocated(waveform.device) - resident
        if waveform.device.type != "cpu" or not (_STATUS.exists() and _reset_high_water_mark()):
            return None
        before = _status_bytes("VmRSS")
        model(waveform)
        after = _status_bytes("VmHWM")
    return None if before is None or after is None else max(0, after - before)


def _reset_high_water_mark() -> bool:
    """Return free heap to the system and reset VmHWM to the present size. Return False if that is impossible.

    Without the first, the pass would reuse memory that earlier passes reserved and seem to need none. Without
    the second, the peak of an earlier training step would hide the peak of the pass.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is None:
        return False
    trim(0)
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def _status_bytes(field: str) -> int | None:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None
