"""Audio folders: list the clips of each split, and check all of them before any training.

The usual layout is the audiofolder of `datasets`: `SPLIT/metadata.csv` with the columns `file_name` and
`label` (or `text`), and the audio beside it. `layouts` has others. The splits are train, validation and test.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prune_ssl.data.audio import (
    MIN_SAMPLES,
    SAMPLE_RATE_HZ,
    AudioHeader,
    read_header,
    read_waveform,
    too_short,
    waveform_problem,
)
from prune_ssl.data.clips import Clip
from prune_ssl.data.confinement import Confinement
from prune_ssl.data.duplicates import shared_files
from prune_ssl.data.files import AUDIO_SUFFIXES, is_file, is_folder, shown
from prune_ssl.data.jsonl import segment_problem
from prune_ssl.data.layouts import SPLITS, Listing, missing_splits, read_listings
from prune_ssl.data.metadata import FILE_COLUMN, METADATA_NAME, SPEAKER_COLUMN, Row
from prune_ssl.errors import DataError
from prune_ssl.models.arguments import check_types

logger = logging.getLogger(__name__)

CACHE_LIMIT_BYTES = 1 << 30
"""The default size of the decoded clips in memory: 1 GiB, 4.7 hours of audio at 16 kHz."""
LONGEST_WHOLE_SECONDS = 3_600.0
"""The longest clip that may stay whole: attention takes memory by the square of the length."""

_SAMPLE_BYTES = 4  # of a float32 sample
_LISTED = 10  # an error names so many bad files; the rest are counted


@dataclass(frozen=True, kw_only=True)
class FolderConfig:
    """How `check_folder` reads and checks a folder.

    Raises:
        DataError: a value has a wrong type, a number is not positive, or a split is unknown.

    >>> FolderConfig(target="text", max_seconds=20.0).sample_rate_hz
    16000
    """

    target: str | None = "label"
    """The column to predict: "label" for classification, "text" for transcripts. None predicts nothing."""
    required_splits: tuple[str, ...] = ("train", "validation")
    """Splits that the folder must have. Other splits are read if they exist."""
    checked: tuple[str, ...] = SPLITS
    """Splits whose clips are checked. The clips of other splits are listed with their targets and a length of
    0; their files are not opened."""
    sample_rate_hz: int = SAMPLE_RATE_HZ
    """The rate of the model. Clips at another rate are resampled to it."""
    min_samples: int = MIN_SAMPLES
    """The model's receptive field at that rate. Shorter clips are refused."""
    max_seconds: float | None = None
    """Longer clips are cut to their first seconds, up to this length, and a note counts them."""
    whole_clips: bool = False
    """Whether the target is a sequence over time, which cannot be cut with its clip. Longer clips of train
    are then left out, with a note, and longer clips of the other splits stay whole."""
    blanks: bool = False
    """Whether a row may leave some slots of its target empty. It allows two corpora with one task each."""
    closed_labels: bool = True
    """Whether every target of the other splits must occur in train too (classification)."""
    outside: bool = False
    """Whether a `file_name` may lead out of the corpus by an absolute path, `..` or a link. Lists of paths
    (manifests in the root, Kaldi's wav.scp) always may."""
    decode_limit_clips: int = 2_000
    """The check decodes all clips of a corpus of up to so many clips. In a larger corpus it decodes one clip
    in several of train, and all clips of the other splits, because judging cannot skip a clip. All headers
    are always read. This number limits the time of the check, not the memory: see `cache_limit_bytes`."""
    cache_limit_bytes: int = CACHE_LIMIT_BYTES
    """Decoded clips stay in memory up to this size: four bytes per sample, as the headers state the lengths.
    The clips of train come first, so that a training step decodes as little as possible. A clip that the
    check did not decode is decoded when it is first used. Clips beyond the limit are decoded at each use. 0
    keeps no clip. Each training process has its own memory."""

    def __post_init__(self) -> None:
        check_types(self, DataError)
        for name in ("sample_rate_hz", "min_samples", "decode_limit_clips", "max_seconds"):
            found = getattr(self, name)
            if found is not None and found <= 0:
                raise DataError(f"FolderConfig: {name}: found {found}, wanted a number above 0.")
        if self.cache_limit_bytes < 0:
            raise DataError(
                f"FolderConfig: cache_limit_bytes: found {self.cache_limit_bytes}, wanted 0 or more."
            )
        for name in ("required_splits", "checked"):
            unknown = [split for split in getattr(self, name) if split not in SPLITS]
            if unknown:
                raise DataError(
                    f"FolderConfig: {name}: found {unknown[0]!r}, wanted some of {', '.join(SPLITS)}"
                )


@dataclass(frozen=True)
class SpeechFolder:
    """A folder that passed `check_folder`."""

    path: Path
    splits: Mapping[str, tuple[Clip, ...]]
    """The clips of each split that exists, in the order of metadata.csv."""
    notes: tuple[str, ...]
    """One line with a count for each kind of conversion or omission, such as resampled clips."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The distinct targets of train, sorted; those of all splits if there is no train."""
        splits = [self.splits["train"]] if "train" in self.splits else self.splits.values()
        return tuple(sorted({clip.target for clips in splits for clip in clips}))

    def judged_split(self, wanted: str | None = None) -> str:
        """Return the split to judge on: the wanted one, else test if it exists, else validation.

        Raises:
            DataError: the folder does not have that split.
        """
        name = wanted or ("test" if "test" in self.splits else "validation")
        if name not in self.splits:
            raise DataError(f"{self.path}: data.judged is {name!r}, found {', '.join(self.splits)}.")
        return name


def check_folder(
    path: str | Path,
    config: FolderConfig | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> SpeechFolder:
    r"""Read a folder's metadata, check every clip, and list its clips.

    Args:
        path: The folder that holds train/, validation/ and perhaps test/.
        config: How to read the folder.
        on_progress: Called as `(clips done, clips in all)`.

    Returns:
        The clips of each split, with the samples that were decoded and fit into memory, and notes on
        conversions. The notes are logged too.

    Raises:
        DataError: the folder or a clip cannot be used. One message names the first ten bad files and counts
            the rest.

    >>> import soundfile
    >>> Path("corpus/train").mkdir(parents=True)
    >>> _ = Path("corpus/train/metadata.csv").write_text("file_name,label\nyes.wav,yes\n")
    >>> soundfile.write("corpus/train/yes.wav", [0.0, 0.5] * 8_000, 16_000)
    >>> folder = check_folder("corpus", FolderConfig(required_splits=("train",)))
    >>> folder.labels, folder.splits["train"][0].seconds
    (('yes',), 1.0)
    """
    root, config = Path(path), config or FolderConfig()
    listings = _read_splits(root, config)
    total = sum(len(listing.rows) for split, listing in listings.items() if split in config.checked)
    stride = max(1, -(-total // config.decode_limit_clips))
    inspector = _Inspector(root, config)
    splits: dict[str, tuple[Clip, ...]] = {}
    done = 0
    for split, listing in listings.items():
        clips = []
        if split not in config.checked:
            splits[split] = _unread(listing, config.target)
            continue
        for row in listing.rows:
            clip = inspector.inspect(split, listing, row, decode=split != "train" or done % stride == 0)
            clips += [clip] if clip is not None else []
            done += 1
            if on_progress is not None:
                on_progress(done, total)
        splits[split] = tuple(clips)
    _raise_if_any(root, inspector.problems, total)
    inspector.require_train(splits)
    if config.closed_labels:
        _require_known_labels(root, splits)
    notes = (*inspector.notes(stride, total), *_unlisted_notes(listings), *shared_files(splits))
    for note in notes:
        logger.info("%s: %s", root, note)
    return SpeechFolder(path=root, splits=splits, notes=notes)


class _Inspector:
    """Checks one clip after another, and collects problems, counts of conversions, and the bytes to keep."""

    def __init__(self, root: Path, config: FolderConfig) -> None:
        self.root, self.config = root, config
        self.problems: list[tuple[Path, str]] = []
        self.rates: Counter[int] = Counter()
        self._confinements: dict[str, Confinement] = {}
        self.stereo = self.cut = self.left_out = self.kept_whole = self.cached_bytes = 0

    def inspect(self, split: str, listing: Listing, row: Row, decode: bool) -> Clip | None:
        """Return the clip of one row, or None if it has a problem or is left out (both are counted)."""
        config = self.config
        if not row.get(FILE_COLUMN, "").strip():
            return self._refuse(listing.folder / listing.source, f"a row has no {FILE_COLUMN}")
        path = listing.locate(row)
        if split not in self._confinements:
            self._confinements[split] = Confinement(self.root, listing, config.outside)
        escape = self._confinements[split].problem(path)
        if escape is not None:
            return self._refuse(path, escape)
        target = "" if config.target is None else row[config.target].strip()
        if config.target is not None and not target:
            return self._refuse(path, f"its {config.target} in {listing.source} is empty")
        try:
            header = read_header(path)
            if header.samples_at(config.sample_rate_hz) < config.min_samples:
                return self._refuse(
                    path, too_short(header.samples_at(config.sample_rate_hz), config.min_samples)
                )
            seconds = header.frames / header.sample_rate_hz
            problem = segment_problem(row, seconds) or self._too_long(split, seconds)
            if problem is not None:
                return self._refuse(path, problem)
            if self._is_long(header) and config.whole_clips:
                if split == "train":
                    self.left_out += 1
                    return None
                self.kept_whole += 1
            most = None if config.whole_clips else config.max_seconds
            samples = read_waveform(path, config.sample_rate_hz, most) if decode else None
        except DataError as error:
            return self._refuse(path, str(error).removeprefix(f"{path}: "))
        problem = None if samples is None else waveform_problem(samples, config.min_samples)
        if problem is not None:
            return self._refuse(path, problem)
        seconds = self._count(header)
        keeps = self._fits(seconds)
        return Clip(
            path=path,
            target=target,
            seconds=seconds,
            speaker=row.get(SPEAKER_COLUMN) or None,
            samples=samples if keeps else None,
            keeps=keeps,
        )

    def notes(self, stride: int, total: int) -> Iterable[str]:
        """Yield one line with a count for each kind of conversion or omission."""
        for rate, count in sorted(self.rates.items()):
            yield f"{_clips(count)} at {rate} Hz resampled to {self.config.sample_rate_hz} Hz"
        if self.stereo:
            yield f"{_clips(self.stereo)} with several channels averaged to mono"
        if self.cut:
            yield f"{_clips(self.cut)} cut to the first {self.config.max_seconds:g} s"
        if self.left_out:
            target = self.config.target
            reason = "" if target is None else f": their {target} cannot be cut with them"
            longer = f"{_clips(self.left_out)} of train longer than {self.config.max_seconds:g} s"
            yield f"{longer} left out{reason}"
        if self.kept_whole:
            yield f"{_clips(self.kept_whole)} longer than {self.config.max_seconds:g} s judged whole"
        if stride > 1:
            yield f"{total} clips: all headers were read, but only one clip in {stride} of train was decoded"

    def require_train(self, splits: Mapping[str, Sequence[Clip]]) -> None:
        """Refuse a folder if every clip of its train split was left out because it is too long.

        Raises:
            DataError: no clip of train remains.
        """
        if self.left_out and not splits["train"]:
            raise DataError(
                f"{self.root / 'train'}: {_clips(self.left_out)}, all longer than "
                f"{self.config.max_seconds:g} s, and their {self.config.target} cannot be cut with them: "
                "raise max_seconds, or write one file per utterance"
            )

    def _is_long(self, header: AudioHeader) -> bool:
        most = self.config.max_seconds
        return most is not None and header.frames / header.sample_rate_hz > most

    def _refuse(self, path: Path, words: str) -> Clip | None:
        self.problems.append((path, words))
        return None

    def _too_long(self, split: str, seconds: float) -> str | None:
        """Return a message if a clip that stays whole is too long for any model, else None."""
        config = self.config
        cut = config.max_seconds is not None and (split == "train" or not config.whole_clips)
        if cut or seconds <= LONGEST_WHOLE_SECONDS:
            return None
        return f"too long ({seconds / 3600:.1f} hours, wanted at most one): write one file per utterance"

    def _count(self, header: AudioHeader) -> float:
        seconds = header.frames / header.sample_rate_hz
        if header.sample_rate_hz != self.config.sample_rate_hz:
            self.rates[header.sample_rate_hz] += 1
        self.stereo += header.channels > 1
        if self.config.max_seconds is not None and self._is_long(header) and not self.config.whole_clips:
            self.cut += 1
            seconds = self.config.max_seconds
        return seconds

    def _fits(self, seconds: float) -> bool:
        """Return whether a clip of this length still fits into the memory, and count its bytes if it does."""
        size = _SAMPLE_BYTES * round(seconds * self.config.sample_rate_hz)
        fits = self.cached_bytes + size <= self.config.cache_limit_bytes
        self.cached_bytes += size * fits
        return fits


def _read_splits(root: Path, config: FolderConfig) -> dict[str, Listing]:
    if not is_folder(root):
        raise DataError(
            f"{root}: {'not a folder' if is_file(root) else 'no such folder'}: "
            "give a folder with train/ in it"
        )
    try:
        empty = not any(root.iterdir())
    except OSError as error:
        raise DataError(f"{root}: not readable ({error.strerror})") from error
    if empty:
        raise DataError(
            f"{root}: the folder is empty: put train/{METADATA_NAME} and its audio into it, and the same "
            "for validation/"
        )
    listings = read_listings(root, config.target, config.blanks)
    missing = missing_splits(listings, config.required_splits)
    if missing:
        found = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
        raise DataError(
            f"{root}: no folder {'/, no folder '.join(missing)}/ in it "
            f"(found: {', '.join(found) or 'no folders'}); wanted {', '.join(config.required_splits)}, "
            f"each with a {METADATA_NAME}"
        )
    return listings


def _unread(listing: Listing, target: str | None) -> tuple[Clip, ...]:
    """Return the clips of a split without opening their files. They have no length."""
    targets = ("" if target is None else row[target].strip() for row in listing.rows)
    pairs = zip(listing.rows, targets, strict=True)
    return tuple(Clip(listing.locate(row), words, seconds=0.0) for row, words in pairs)


def _raise_if_any(root: Path, problems: Sequence[tuple[Path, str]], total: int) -> None:
    if not problems:
        return
    listed = [f"  {shown(os.path.relpath(path, root))}: {words}" for path, words in problems[:_LISTED]]
    if len(problems) > _LISTED:
        listed.append(f"  ... and {len(problems) - _LISTED} more")
    listed.append(f"Replace these files, or remove their rows from {METADATA_NAME}.")
    raise DataError("\n".join([f"{root}: {len(problems)} of {_clips(total)} can't be used:", *listed]))


def _require_known_labels(root: Path, splits: Mapping[str, Sequence[Clip]]) -> None:
    known = {clip.target for clip in splits.get("train", ())}
    for split, clips in splits.items():
        unknown = sorted({clip.target for clip in clips} - known)
        if known and unknown:
            raise DataError(
                f"{root / split}: found labels that train does not have: {_some(unknown)}; "
                f"train has {_some(sorted(known))}: add clips with these labels to train, or remove them "
                f"from {split}"
            )


def _unlisted_notes(listings: Mapping[str, Listing]) -> Iterable[str]:
    for split, listing in listings.items():
        if not listing.complete:
            continue
        folder = listing.folder
        listed = {os.path.normpath(listing.locate(row)) for row in listing.rows}
        unlisted = sum(
            path.suffix.lower() in AUDIO_SUFFIXES and str(path) not in listed for path in folder.rglob("*")
        )
        if unlisted:
            yield f"{unlisted} audio files under {split}/ are not in its {listing.source}: not used"


def _some(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _LISTED} more" if len(labels) > _LISTED else ""
    return ", ".join(repr(shown(label)) for label in labels[:_LISTED]) + more


def _clips(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"
