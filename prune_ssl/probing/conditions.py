"""Conditions under which a probe is judged as well: noise at chosen ratios, rooms, or both."""

from __future__ import annotations

from collections.abc import Sequence

from prune_ssl.data import Corruption
from prune_ssl.data.recordings import Sources
from prune_ssl.errors import DataError


def conditions_of(
    noise: Sources | None, rirs: Sources | None, snr_db: Sequence[float]
) -> dict[str, Corruption]:
    """Return a condition for each ratio, and one of rooms alone if rooms but no ratios are given.

    Args:
        noise: Files of noise. None: white noise.
        rirs: Room impulse responses, in which speech is heard before the noise is added. None: no rooms.
        snr_db: Signal-to-noise ratios.

    Raises:
        DataError: noise without a ratio, or files that cannot be used.

    >>> list(conditions_of(None, None, [0.0, 10.0]))
    ['0 dB', '10 dB']
    """
    if noise is not None and not snr_db:
        raise DataError("conditions: noise needs at least one signal-to-noise ratio, such as 0 or 10 dB")
    rooms = "" if rirs is None else ", in rooms"
    found = {
        f"{snr:g} dB{rooms}": Corruption(
            noise=noise,
            rirs=rirs,
            snr_db=(snr, snr),
            cases=("noise",) if rirs is None else ("both",),
            white_probability=0.0,
        )
        for snr in snr_db
    }
    if rirs is not None and not snr_db:
        found["in rooms"] = Corruption(rirs=rirs, cases=("reverb",))
    return found
