"""Conditions under which a probe is judged as well: noise at chosen ratios, rooms, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from prune_ssl.data import Corruption
from prune_ssl.data.recordings import Sources
from prune_ssl.errors import DataError


class CorruptionSettings(TypedDict, total=False):
    """The settings of a kind of room."""

    rirs: Sources
    rt60_seconds: tuple[float, float]


def conditions_of(
    noise: Sources | None, rirs: Sources | None, snr_db: Sequence[float], rt60: Sequence[float] = ()
) -> dict[str, Corruption]:
    """Return a condition for each ratio in each kind of room.

    Args:
        noise: Files of noise. None: white noise.
        rirs: Room impulse responses, in which speech is heard before the noise is added.
        snr_db: Signal-to-noise ratios. Empty: no noise.
        rt60: Reverberation times of simulated rooms, in seconds.

    Raises:
        DataError: noise without a ratio, rooms of both kinds, or files that cannot be used.

    >>> list(conditions_of(None, None, [0.0, 10.0])), list(conditions_of(None, None, [5.0], [0.4]))
    (['0 dB', '10 dB'], ['5 dB, RT60 0.4 s'])
    """
    if noise is not None and not snr_db:
        raise DataError("conditions: noise needs at least one signal-to-noise ratio, such as 0 or 10 dB")
    if rirs is not None and rt60:
        raise DataError("conditions: rooms are either recorded or simulated: give rirs or rt60")
    rooms: dict[str, CorruptionSettings] = {
        f"RT60 {each:g} s": {"rt60_seconds": (each, each)} for each in rt60
    }
    if rirs is not None:
        rooms = {"in rooms": {"rirs": rirs}}
    found = {}
    for room, settings in (rooms or {"": CorruptionSettings()}).items():
        for snr in snr_db:
            found[f"{snr:g} dB{room and ', '}{room}"] = Corruption(
                noise=noise,
                snr_db=(snr, snr),
                cases=("both",) if room else ("noise",),
                white_probability=0.0,
                **settings,
            )
        if room and not snr_db:
            found[room] = Corruption(cases=("reverb",), **settings)
    return found
