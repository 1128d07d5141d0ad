"""The conditions of a probe: ratios, rooms, and their refusals."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from prune_ssl.errors import DataError
from prune_ssl.probing.conditions import conditions_of


def test_each_ratio_is_a_condition_and_rooms_come_before_the_noise(tmp_path: Path) -> None:
    rir = np.zeros(2_000)
    rir[0], rir[900] = 1.0, 0.4
    soundfile.write(tmp_path / "a.wav", rir, 16_000)
    assert list(conditions_of(None, str(tmp_path), [])) == ["in rooms"]
    assert conditions_of(None, None, []) == {}
    (name, both), *_ = conditions_of(None, (str(tmp_path),), [5.0, 10.0]).items()
    assert name == "5 dB, in rooms"
    assert (both.cases, both.order, both.snr_db) == (("both",), "room_first", (5.0, 5.0))
    with pytest.raises(DataError, match="noise needs at least one signal-to-noise ratio"):
        conditions_of(str(tmp_path), None, [])
    rooms = conditions_of(None, None, [0.0], [0.2, 0.8])
    assert list(rooms) == ["0 dB, RT60 0.2 s", "0 dB, RT60 0.8 s"]
    assert rooms["0 dB, RT60 0.8 s"].rt60_seconds == (0.8, 0.8)
    assert list(conditions_of(None, None, [], [0.2])) == ["RT60 0.2 s"]
    with pytest.raises(DataError, match="either recorded or simulated"):
        conditions_of(None, str(tmp_path), [], [0.2])
