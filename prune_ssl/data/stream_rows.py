"""Read the audio and the target from a row of a streamed corpus."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

from prune_ssl.data.audio import SAMPLE_RATE_HZ, Waveform, decode_audio, mean_of_channels, require_rate
from prune_ssl.data.files import is_file, is_folder, shown
from prune_ssl.data.metadata import SPEAKER_COLUMN, target_columns, with_target
from prune_ssl.data.resampling import resampled
from prune_ssl.errors import DataError

_PROTOCOL = re.compile(r"([A-Za-z][\w+.-]*)(?:://|::)")
_LOCAL_PROTOCOLS = frozenset({"file", "local", "ssh", "sftp", "smb", "data", "memory", "reference"})


_SPEAKER_COLUMNS = (SPEAKER_COLUMN, "speaker_id")  # the second one in LibriSpeech's data set on the hub

Cell = Any
"""A value of a streamed table: text, a number, bytes, a list or a dict. Nothing is known of it before."""


def speaker_of(row: Mapping[str, Cell], names: Mapping[str, Callable[[int], str]]) -> str | None:
    """Return the speaker of a row as text. None: no column names the speaker.

    Args:
        row: The row.
        names: Maps the columns of class labels to functions from class index to name.

    >>> speaker_of({"speaker_id": 1272}, {}), speaker_of({"speaker": ""}, {})
    ('1272', None)
    """
    for column in _SPEAKER_COLUMNS:
        value = row.get(column)
        if isinstance(value, int) and column in names:
            return names[column](value) if value >= 0 else None
        if value not in (None, ""):
            return str(value)
    return None


def target_of(row: Mapping[str, Cell], target: str, names: Mapping[str, Callable[[int], str]]) -> str:
    """Return the target of a row as text. The text is empty if the row has no target.

    Args:
        row: The values of all columns.
        target: The column or columns, as in FolderConfig.
        names: For each column of class indices, the function from an index to the name of its class.

    Raises:
        DataError: a column of the target holds a list or an object.
    """
    texts = {}
    for column in target_columns(target):
        value = row.get(column)
        if isinstance(value, (dict, list)):
            raise DataError(f"its {column} is {shown(value)}, wanted text or a number")
        if column in names:
            value = None if value is None or value < 0 else names[column](value)  # -1 means no label
        texts[column] = "" if value is None else str(value)
    return texts[target].strip() if target in texts else with_target(texts, target)[target]


def path_of(value: Cell) -> str | None:
    """Return the file name in a value of the audio column, or None if it has none."""
    return value.get("path") if isinstance(value, dict) else value if isinstance(value, str) else None


def audio_of(value: Cell, corpus: str, cut_seconds: float | None) -> Waveform:
    """Decode a value of the audio column: encoded bytes, samples with their rate, or a file name.

    Args:
        value: The value of the audio column.
        corpus: The corpus, a folder or a name on the hub.
        cut_seconds: Read at most this many seconds. None reads all.

    Returns:
        Samples (N,) at the model's rate.

    Raises:
        DataError: the value is not audio, or names a file that the corpus may not name.
        OSError, TypeError, ValueError, KeyError: a library met a value that it cannot read.
    """
    if isinstance(value, dict) and value.get("array") is not None:
        return _resampled_array(value, cut_seconds)
    data = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(data, bytes):
        return decode_audio(io.BytesIO(data), len(data), SAMPLE_RATE_HZ, cut_seconds)
    path = path_of(value)
    if path is None:
        raise DataError(f"found {type(value).__name__}, wanted audio: a file name, bytes, or samples")
    with fsspec.open(_allowed(path, corpus), "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return decode_audio(file, size, SAMPLE_RATE_HZ, cut_seconds)


def _resampled_array(value: Mapping[str, Cell], cut_seconds: float | None) -> Waveform:
    with np.errstate(over="ignore"):  # `waveform_problem` reports values that do not fit
        samples = np.atleast_2d(np.asarray(value["array"], dtype=np.float32))
    if samples.ndim > 2:
        raise DataError(f"found samples of shape {samples.shape}, wanted (samples,) or (channels, samples)")
    rate = int(value["sampling_rate"])
    require_rate(rate)
    most = None if cut_seconds is None else round(cut_seconds * rate)
    return resampled(mean_of_channels(samples.T[:most]), rate, SAMPLE_RATE_HZ)


def _allowed(path: str, corpus: str) -> str:
    """Return the path or URL that may be opened. Data of the hub may not name files of this machine.

    Raises:
        DataError: a row of hub data names a local file, or there is no such file.
    """
    own = is_folder(Path(corpus))  # the lists of a local folder are the user's own, and may name any file
    if _PROTOCOL.match(path):
        if not own and _LOCAL_PROTOCOLS & set(_PROTOCOL.findall(path)):
            raise DataError(f"{shown(path)} names a file of this machine, and data of the hub may not do so")
        return path
    if not own:
        raise DataError(f"{shown(path)} is not a file of the data set: wanted its audio, or a URL")
    found = next((each for each in (Path(corpus) / path, Path(path)) if is_file(each)), None)
    if found is None:
        raise DataError("no such file")
    return str(found)
