"""Owns what a row of a streamed corpus holds: audio in one of its many forms, and what is to be predicted."""

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
from prune_ssl.data.metadata import target_columns, with_target
from prune_ssl.data.resampling import resampled
from prune_ssl.errors import DataError

_PROTOCOL = re.compile(r"([A-Za-z][\w+.-]*)(?:://|::)")
_LOCAL_PROTOCOLS = frozenset({"file", "local", "ssh", "sftp", "smb", "data", "memory", "reference"})


def target_of(row: Mapping[str, Any], target: str, names: Mapping[str, Callable[[int], str]]) -> str:
    """Return the target of a row as text, empty where it has none.

    Args:
        row: All columns.
        target: As FolderConfig has it.
        names: What turns the numbers of a column of classes into their names.

    Raises:
        DataError: a part of it is a list or an object.
    """
    texts = {}
    for column in target_columns(target):
        value = row.get(column)
        if isinstance(value, (dict, list)):
            raise DataError(f"its {column} is {shown(value)}, wanted text or a number")
        if column in names:
            value = None if value is None or value < 0 else names[column](value)  # -1 is for no label
        texts[column] = "" if value is None else str(value)
    return texts[target].strip() if target in texts else with_target(texts, target)[target]


def path_of(value: Any) -> str | None:
    """The name of the file that a value of the column of audio is from, where it has one."""
    return value.get("path") if isinstance(value, dict) else value if isinstance(value, str) else None


def audio_of(value: Any, corpus: str, cut_seconds: float | None) -> Waveform:
    """Decode what a row holds: encoded bytes, samples with their rate, or the name of a file.

    Args:
        value: Of the column of audio.
        corpus: Where the corpus is: a folder, or a name on the hub.
        cut_seconds: Read no more than this; None: all.

    Returns:
        Samples (N,) at the model's rate.

    Raises:
        DataError: it is no audio, or a file that such a corpus may not name.
        OSError, TypeError, ValueError, KeyError: of the libraries, for values of an odd kind.
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


def _resampled_array(value: Mapping[str, Any], cut_seconds: float | None) -> Waveform:
    with np.errstate(over="ignore"):  # `waveform_problem` names what does not fit
        samples = np.atleast_2d(np.asarray(value["array"], dtype=np.float32))
    if samples.ndim > 2:
        raise DataError(f"found samples of shape {samples.shape}, wanted (samples,) or (channels, samples)")
    rate = int(value["sampling_rate"])
    require_rate(rate)
    most = None if cut_seconds is None else round(cut_seconds * rate)
    return resampled(mean_of_channels(samples.T[:most]), rate, SAMPLE_RATE_HZ)


def _allowed(path: str, corpus: str) -> str:
    """What may be opened of what a row names: data of the hub may not lead to files of this machine.

    Raises:
        DataError: it does, or there is no such file.
    """
    own = is_folder(Path(corpus))  # then its lists are the user's, as manifests are
    if _PROTOCOL.match(path):
        if not own and _LOCAL_PROTOCOLS & set(_PROTOCOL.findall(path)):
            raise DataError(f"{shown(path)} names a file of this machine, which data of the hub may not")
        return path
    if not own:
        raise DataError(f"{shown(path)} is no file of the data set: wanted audio in it, or a URL")
    found = next((each for each in (Path(corpus) / path, Path(path)) if is_file(each)), None)
    if found is None:
        raise DataError("no such file")
    return str(found)
