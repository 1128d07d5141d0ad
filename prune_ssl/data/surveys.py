"""Owns the survey of a corpus: broken, silent, clipped, duplicated, too short and too long clips.

`check_folder` refuses what cannot be trained on; this lists all that is odd, and refuses nothing.
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
"""What may be wrong with a clip, the worst first."""

_FLAT_SAMPLES = 3  # as long a run at the extreme does not happen to unclipped speech by chance
_FLAT_TOLERANCE = 1.5 * 2.0**-15  # a step and a half of 16-bit audio: lossy codecs wobble
_QUIET = 0.1  # below this peak flat tops are rounding, not clipping
_OVER = 2.0  # lossy codecs and resampling pass full scale by less
_LOOKED_AT = 1 << 26  # samples of a clip that are decoded, 256 MiB: 70 minutes at 16 kHz


@dataclass(frozen=True, kw_only=True)
class SurveyConfig:
    """Where clips begin to be odd.

    Raises:
        DataError: a value of a wrong type; the limits leave no length in between, or the share is not one.
    """

    min_seconds: float = 0.1
    """Shorter clips are listed."""
    max_seconds: float = 20.0
    """Longer clips are listed: they take much memory in training."""
    clipped_share: float = 5e-4
    """More samples than this share in flat tops make a clip clipped."""
    outside: bool = False
    """As FolderConfig has it."""

    def __post_init__(self) -> None:
        check_types(self, DataError)
        if not 0 < self.min_seconds < self.max_seconds or not 0 < self.clipped_share < 1:
            raise DataError(
                f"SurveyConfig: wanted 0 < min_seconds < max_seconds and 0 < share < 1, got {self}"
            )


@dataclass(frozen=True)
class Finding:
    """One odd clip."""

    path: Path
    kind: str
    """One of KINDS."""
    words: str


@dataclass(frozen=True)
class Survey:
    """What a corpus holds and what is odd in it."""

    counts: Mapping[str, int]
    """Clips by split."""
    seconds: Mapping[str, float]
    """Audio by split, of the clips that can be read."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    """What concerns splits rather than clips: shared speakers."""

    def of_kind(self, kind: str) -> tuple[Finding, ...]:
        """Return the findings of one kind, in order."""
        return tuple(finding for finding in self.findings if finding.kind == kind)


def survey(
    path: str | Path,
    config: SurveyConfig | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Survey:
    """Decode every clip of a folder and list what is odd.

    Args:
        path: A folder in any layout that `layouts` knows; no target column is needed.
        config: The limits.
        on_progress: Called as `(clips done, clips in all)`.

    Raises:
        DataError: the folder or its lists cannot be read at all.
    """
    root, limits = Path(path), config or SurveyConfig()
    if not is_folder(root):
        raise DataError(
            f"{root}: no such folder: give one with train/ in it, or a corpus as it was unpacked. A data set "
            "of the hub can be streamed in training (data.stream), which leaves out unusable clips and names "
            "them, but not be checked as a whole: download it for that"
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
                seconds[split] += _look_at(clip, row, limits, seen, found)
            except DataError as error:
                found.append(Finding(clip, "broken", str(error).removeprefix(f"{clip}: ")))
            done += 1
            if on_progress is not None:
                on_progress(done, total)
    counts = {split: len(listing.rows) for split, listing in listings.items()}
    return Survey(counts, seconds, tuple(found), tuple(_shared_speakers(listings)))


def _require_inside(listing: Listing, clip: Path, row: Row, confinement: Confinement) -> None:
    if not row.get(FILE_COLUMN, "").strip():
        raise DataError(f"a row of {listing.source} without a {FILE_COLUMN}")
    escape = confinement.problem(clip)
    if escape is not None:
        raise DataError(escape)


def _look_at(clip: Path, row: Row, limits: SurveyConfig, seen: Duplicates, found: list[Finding]) -> float:
    """Add what is odd about one clip to `found`, and return its length in seconds."""
    header = read_header(clip)
    seconds = header.frames / header.sample_rate_hz
    if seconds < limits.min_seconds:
        found.append(Finding(clip, "too short", f"{seconds:.3f} s"))
    read = _LOOKED_AT / header.sample_rate_hz if header.frames > _LOOKED_AT else None
    if seconds > limits.max_seconds:
        part = "" if read is None else f", of which the first {read:.0f} s were looked at"
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
    words = seen.words(clip, samples, row)
    if words is not None:
        found.append(Finding(clip, "duplicated", words))
    return seconds


def flat_share(samples: Waveform) -> float:
    """Share of samples (N,) in runs of three or more at the clip's own highest or lowest value."""
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
