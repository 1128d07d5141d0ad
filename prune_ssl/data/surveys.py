"""The survey of a corpus: broken, silent, clipped, duplicated, too short and too long clips.

`check_folder` refuses a corpus that cannot be trained on. The survey lists every odd clip and refuses none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prune_ssl.data.audio import Waveform, read_header, read_waveform, waveform_problem
from prune_ssl.data.confinement import Confinement
from prune_ssl.data.duplicates import Duplicates
from prune_ssl.data.files import is_folder
from prune_ssl.data.layouts import Listing, read_listings
from prune_ssl.data.metadata import FILE_COLUMN, SPEAKER_COLUMN, Row
from prune_ssl.errors import DataError
from prune_ssl.models.arguments import check_types

KINDS = ("broken", "silent", "clipped", "loud", "duplicated", "too short", "too long")
"""The kinds of findings, the worst first."""

_FLAT_SAMPLES = 3  # unclipped speech does not stay at its peak for so many samples by chance
_FLAT_TOLERANCE = 1.5 * 2.0**-15  # 1.5 steps of 16-bit audio, because lossy codecs alter flat tops a little
_QUIET = 0.1  # flat tops below this peak come from rounding, not from clipping
_OVER = 2.0  # lossy codecs and resampling exceed full scale by less than this
_DECODED = 1 << 26  # samples of a clip that are decoded at most, 256 MiB: 70 minutes at 16 kHz


@dataclass(frozen=True, kw_only=True)
class SurveyConfig:
    """The limits beyond which the survey lists a clip.

    Raises:
        DataError: a value has a wrong type, `min_seconds` is not below `max_seconds`, or `clipped_share` is
            not between 0 and 1.

    >>> SurveyConfig(max_seconds=30.0).min_seconds
    0.1
    """

    min_seconds: float = 0.1
    """Shorter clips are listed."""
    max_seconds: float = 20.0
    """Longer clips are listed, because they take much memory in training."""
    clipped_share: float = 5e-4
    """A clip is listed as clipped if a larger share of its samples lies in flat tops."""
    outside: bool = False
    """As in FolderConfig."""

    def __post_init__(self) -> None:
        check_types(self, DataError)
        if not 0 < self.min_seconds < self.max_seconds or not 0 < self.clipped_share < 1:
            raise DataError(
                f"SurveyConfig: wanted 0 < min_seconds < max_seconds and 0 < clipped_share < 1, found {self}"
            )


@dataclass(frozen=True)
class Finding:
    """One odd clip."""

    path: Path
    kind: str
    """One of KINDS."""
    words: str
    """The finding in words, with its figure."""


@dataclass(frozen=True)
class Survey:
    """The size of a corpus, and its odd clips."""

    counts: Mapping[str, int]
    """Number of clips of each split."""
    seconds: Mapping[str, float]
    """Length of the audio of each split, without the clips that cannot be read."""
    findings: tuple[Finding, ...]
    """The odd clips, in the order of the lists."""
    notes: tuple[str, ...]
    """Notes on whole splits, such as speakers that train and test share."""

    def of_kind(self, kind: str) -> tuple[Finding, ...]:
        """Return the findings of one of KINDS, in order."""
        return tuple(finding for finding in self.findings if finding.kind == kind)


def survey(
    path: str | Path,
    config: SurveyConfig | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Survey:
    r"""Decode every clip of a folder and list the odd ones.

    Args:
        path: A folder in any known layout. It needs no target column.
        config: The limits.
        on_progress: Called as `(clips done, clips in all)`.

    Raises:
        DataError: the folder or its lists cannot be read.

    >>> import soundfile
    >>> Path("corpus/train").mkdir(parents=True)
    >>> _ = Path("corpus/train/metadata.csv").write_text("file_name,label\nyes.wav,yes\n")
    >>> sound = 0.5 * np.sin(np.arange(16_000))
    >>> soundfile.write("corpus/train/yes.wav", sound, 16_000)
    >>> survey("corpus").counts, survey("corpus").findings
    ({'train': 1}, ())
    """
    root, limits = Path(path), config or SurveyConfig()
    if not is_folder(root):
        raise DataError(
            f"{root}: no such folder: give a folder with train/ in it, or a corpus as it was unpacked. To "
            "check a data set of the hub, download it. Training can also stream it (data.stream): it then "
            "leaves out unusable clips and names them"
        )
    listings = read_listings(root, target=None)
    total = sum(len(listing.rows) for listing in listings.values())
    if not total:
        raise DataError(
            f"{root}: no clips are listed in it: wanted train/metadata.csv or another known layout"
        )
    seen = Duplicates()
    found: list[Finding] = []
    seconds = dict.fromkeys(listings, 0.0)
    done = 0
    for split, listing in listings.items():
        confinement = Confinement(root, listing, limits.outside)
        for row in listing.rows:
            clip = listing.locate(row)
            try:
                _require_inside(listing, clip, row, confinement)
                seconds[split] += _inspect(clip, row, limits, seen, found)
            except DataError as error:
                found.append(Finding(clip, "broken", str(error).removeprefix(f"{clip}: ")))
            done += 1
            if on_progress is not None:
                on_progress(done, total)
    counts = {split: len(listing.rows) for split, listing in listings.items()}
    return Survey(counts, seconds, tuple(found), tuple(_shared_speakers(listings)))


def _require_inside(listing: Listing, clip: Path, row: Row, confinement: Confinement) -> None:
    if not row.get(FILE_COLUMN, "").strip():
        raise DataError(f"a row of {listing.source} has no {FILE_COLUMN}")
    escape = confinement.problem(clip)
    if escape is not None:
        raise DataError(escape)


def _inspect(clip: Path, row: Row, limits: SurveyConfig, seen: Duplicates, found: list[Finding]) -> float:
    """Add the findings on one clip to `found`, and return its length in seconds."""
    header = read_header(clip)
    seconds = header.frames / header.sample_rate_hz
    if seconds < limits.min_seconds:
        found.append(Finding(clip, "too short", f"{seconds:.3f} s"))
    read = _DECODED / header.sample_rate_hz if header.frames > _DECODED else None
    if seconds > limits.max_seconds:
        part = "" if read is None else f", of which the first {read:.0f} s were decoded"
        found.append(Finding(clip, "too long", f"{seconds:.1f} s{part}"))
    samples = read_waveform(clip, header.sample_rate_hz, read)
    problem = waveform_problem(samples, min_samples=1)
    if problem is not None:
        found.append(Finding(clip, "silent" if problem.startswith("silent") else "broken", problem))
        return seconds
    share, peak = flat_share(samples), float(np.abs(samples).max())
    if share > limits.clipped_share:
        found.append(Finding(clip, "clipped", f"{100 * share:.2f}% of its samples are in flat tops"))
    if peak > _OVER:
        found.append(Finding(clip, "loud", f"its peak is {peak:.3g}, full scale is 1"))
    repeated = seen.find(clip, samples, row)
    if repeated is not None:
        found.append(Finding(clip, "duplicated", repeated))
    return seconds


def flat_share(samples: Waveform) -> float:
    """Return the share of samples (N,) in runs of three or more at the clip's highest or lowest value."""
    flat = 0
    for signed in (samples, -samples):
        peak = signed.max(initial=0.0)
        if peak < _QUIET:
            continue
        at_peak = np.concatenate([[0], (signed >= peak - _FLAT_TOLERANCE).astype(np.int8), [0]])
        edges = np.flatnonzero(np.diff(at_peak))
        runs = edges[1::2] - edges[::2]
        flat += int(runs[runs >= _FLAT_SAMPLES].sum())
    return flat / len(samples) if len(samples) else 0.0


def _shared_speakers(listings: Mapping[str, Listing]) -> Iterator[str]:
    speakers = {
        split: {row[SPEAKER_COLUMN] for row in listing.rows if row.get(SPEAKER_COLUMN)}
        for split, listing in listings.items()
    }
    for split, names in speakers.items():
        shared = names & speakers.get("train", set())
        if split != "train" and shared:
            yield f"{len(shared)} of the {len(names)} speakers of {split} are in train too"
