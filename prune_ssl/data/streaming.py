"""Streamed corpora: data sets of the hub (or local files in their formats) that are read during training.

A streamed corpus is never downloaded as a whole, so it cannot be checked or sorted as a whole. A sample of
train represents the split, judged clips are held in memory, and unusable clips are left out as they come.
"""

from __future__ import annotations

import logging
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import datasets
from torch.utils.data import IterableDataset

from prune_ssl.data.audio import (
    MIN_SAMPLES,
    SAMPLE_RATE_HZ,
    Item,
    reason_of,
    waveform_problem,
)
from prune_ssl.data.augmentation import Augmentation
from prune_ssl.data.clips import Clip, cropped
from prune_ssl.data.files import shown
from prune_ssl.data.folders import SpeechFolder
from prune_ssl.data.metadata import target_columns
from prune_ssl.data.seeding import phase_key, random_by, seed_of
from prune_ssl.data.stream_rows import audio_of, path_of, speaker_of, target_of
from prune_ssl.errors import DataError
from prune_ssl.models.arguments import check_types

logger = logging.getLogger(__name__)

# The two fields of an Audio feature. The feature itself would need torchcodec even to stay encoded.
_ENCODED = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
_NAMED = 10  # so many unusable clips get a warning each
# The errors that `datasets`, pyarrow and this package raise for a damaged file or an odd row.
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    EOFError,
    ImportError,
    RuntimeError,
    DataError,
    tarfile.TarError,
    datasets.exceptions.DatasetsError,
)

# Training stops once more than this share of at least so many clips is unusable.
_BAD_SHARE, _BAD_SEEN = 0.1, 100


@dataclass(frozen=True, kw_only=True)
class StreamSource:
    """How to read a corpus that is streamed during training.

    Raises:
        DataError: a value has a wrong type, or a count is below 1.

    >>> StreamSource(name="clean", judged="test").sample
    256
    """

    name: str | None = None
    """Configuration of the data set, such as `clean`, for `datasets.load_dataset`."""
    data_files: Mapping[str, str] | None = None
    """Maps each split to a pattern, relative to a local folder. None: `datasets` finds the files itself."""
    train: str = "train"
    """The split to train on."""
    judged: str = "validation"
    """The split to judge on. It is read whole, or up to `judged_limit` clips, and held in memory."""
    judged_limit: int | None = None
    """Judge on the first clips of the split, up to this number. None judges on all."""
    audio: str = "audio"
    """The audio column: an Audio feature, a file name, encoded bytes, or samples with their rate."""
    sample: int = 256
    """Number of train clips that are read before training and held in memory. They must have all labels, or
    all letters."""
    buffer: int = 1_000
    """Size of the shuffle buffer in rows. The order is drawn again each epoch. Shards are shuffled too."""

    def __post_init__(self) -> None:
        check_types(self, DataError)
        for name in ("sample", "buffer", "judged_limit"):
            found = getattr(self, name)
            if found is not None and found < 1:
                raise DataError(f"{name}: found {found}, wanted at least 1.")


@dataclass(frozen=True, kw_only=True)
class StreamConfig(StreamSource):
    """A streamed corpus: its place, how to read it, and the column to predict.

    Raises:
        DataError: as `StreamSource`.

    >>> StreamConfig(path="name/on-the-hub", target="text", max_seconds=10.0).cut_seconds
    10.0
    """

    path: str
    """Name on the hub, or a local folder of Parquet, JSONL, CSV, Arrow or WebDataset files."""
    target: str | None = None
    """The column or columns to predict, as in FolderConfig. None predicts nothing."""
    max_seconds: float | None = None
    """The longest clip, as in FolderConfig."""
    whole_clips: bool = False
    """Whether clips are never cut, as in FolderConfig."""
    min_samples: int = MIN_SAMPLES
    """The model's receptive field. Shorter clips are left out."""

    @property
    def cut_seconds(self) -> float | None:
        """The length to which longer clips are cut. None if clips are not cut."""
        return None if self.whole_clips else self.max_seconds


def read_stream(config: StreamConfig) -> SpeechFolder:
    """Read a sample of train and the judged clips into memory, and note that the rest was not checked.

    Raises:
        DataError: the data set, a split or a column is missing, or no clip of a split can be used.
    """
    notes = [
        f"train is streamed: its first {config.sample} clips were checked, the others are checked in training"
    ]
    splits = {}
    judged = "test" if config.judged.startswith("test") else "validation"
    for key, split, limit in (
        ("train", config.train, config.sample),
        (judged, config.judged, config.judged_limit),
    ):
        problems: list[str] = []
        long: list[str] = []
        rows = open_split(config, split)
        leave_out = long.append if key == "train" else None
        splits[key] = tuple(islice(_clips(config, split, rows, problems.append, leave_out), limit))
        if long:
            notes.append(
                f"{len(long)} of the {len(long) + len(splits[key])} clips of {split} that were checked are "
                f"longer than {config.max_seconds:g} s. They and all later ones are left out, because their "
                f"{config.target} cannot be cut with them"
            )
        if problems:
            notes.append(f"{len(problems)} clips of {split} cannot be used, first: {problems[0]}")
        if not splits[key]:
            first = f", first: {(problems + long)[0]}" if problems or long else ""
            raise DataError(f"{config.path}: no clip of {split} can be used{first}")
    if config.judged_limit is not None and len(splits[judged]) == config.judged_limit:
        notes.append(f"judged on the first {config.judged_limit} clips of {config.judged}")
    return SpeechFolder(Path(config.path), splits, tuple(notes))


def require_sampled_labels(folder: SpeechFolder, config: StreamConfig) -> None:
    """Refuse a corpus whose judged clips have labels that the sample of train does not have.

    Raises:
        DataError: there is such a label.
    """
    for split, clips in folder.splits.items():
        new = sorted({clip.target for clip in clips} - set(folder.labels))
        if new:
            raise DataError(
                f"{config.path}: {split} has {len(new)} labels, such as {new[0]!r}, that the first "
                f"{config.sample} clips of train do not have: raise data.stream.sample until it has all"
            )


def open_split(config: StreamConfig, split: str) -> datasets.IterableDataset:
    """Open a split. Its audio stays encoded.

    Raises:
        DataError: the data set, the split or a column is missing.
    """
    files = dict(config.data_files) if config.data_files else None
    try:
        found = datasets.load_dataset(config.path, config.name, data_files=files, split=split, streaming=True)
    except _UNREADABLE as error:
        raise DataError(
            f"{config.path}: split {split!r} cannot be streamed ({_first_line(error)}): wanted a "
            "name of the hub or a folder of Parquet, JSONL, CSV, Arrow or WebDataset files; folders of audio "
            "files are read without data.stream"
        ) from error
    features = found.features or {}
    for name, feature in features.items():
        if isinstance(feature, datasets.Audio):
            found = found.cast_column(name, _ENCODED)
    try:
        columns = found.column_names or list(next(iter(found), {}))
    except _UNREADABLE as error:
        raise _damaged(config, split, 0, error) from error
    wanted = (config.audio, *(target_columns(config.target) if config.target else ()))
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise DataError(
            f"{config.path}: no column {missing[0]!r} in {split}: found {', '.join(columns) or 'no rows'}; "
            "name the columns by data.stream.audio and data.target"
        )
    return found


def _clips(
    config: StreamConfig,
    split: str,
    rows: datasets.IterableDataset,
    refuse: Callable[[str], object],
    leave_out: Callable[[str], object] | None,
) -> Iterator[Clip]:
    """Decode the rows. Call `refuse` for each unusable clip, and `leave_out` (if given) for each long one."""
    names = {
        column: feature.int2str
        for column, feature in (rows.features or {}).items()
        if isinstance(feature, datasets.ClassLabel)
    }
    for index, row in enumerate(_readable(config, split, rows)):
        target, speaker, audio = "", None, row.get(config.audio)
        where = Path(path_of(audio) or f"{split}[{index}]")
        try:
            samples = audio_of(audio, config.path, config.cut_seconds)
            problem = waveform_problem(samples, config.min_samples)
            speaker = speaker_of(row, names)
            if config.target is not None:
                target = target_of(row, config.target, names)
                problem = problem or (None if target else f"its {config.target} is empty")
        except _UNREADABLE as error:
            problem = f"broken: {_first_line(error).removeprefix('broken: ')}"
        if problem is not None:
            refuse(f"{shown(where)}: {problem}")
            continue
        seconds, most = len(samples) / SAMPLE_RATE_HZ, config.max_seconds
        if leave_out is not None and config.whole_clips and most is not None and seconds > most:
            leave_out(f"{where}: {seconds:.1f} s, longer than max_seconds {most:g}")
            continue
        yield Clip(where, target, seconds, speaker=speaker, samples=samples)


def _readable(
    config: StreamConfig, split: str, rows: datasets.IterableDataset
) -> Iterator[Mapping[str, object]]:
    """Yield the rows until one cannot be read.

    Raises:
        DataError: a row cannot be read.
    """
    index = 0
    try:
        for index, row in enumerate(rows, start=1):  # noqa: B007
            yield row
    except _UNREADABLE as error:
        raise _damaged(config, split, index, error) from error


def _damaged(config: StreamConfig, split: str, index: int, error: Exception) -> DataError:
    return DataError(
        f"{config.path}: {split} cannot be read after its row {index} ({_first_line(error)}): one of its "
        "files is damaged or of another kind: download it again"
    )


def _first_line(error: Exception) -> str:
    return reason_of(error).partition("\n")[0]


class StreamedClips(IterableDataset[Item]):
    """The train split as an endless torch dataset of `{"input_values": (N,) float32, "labels": ...}`.

    One epoch follows another, each in a new order. The random draws of an item depend only on (seed, phase,
    epoch, place). A resumed run reads the stream again up to its place, and then sees the same items.

    Args:
        config: The corpus.
        encode: As in ClipDataset.
        augmentation: As in ClipDataset.
        crop_seconds: As in ClipDataset.
        seed: The seed of the order and of the draws.
        phase: The name of the training phase, so that the phases of a run draw different numbers.
    """

    def __init__(
        self,
        config: StreamConfig,
        encode: Callable[[str], object],
        *,
        augmentation: Augmentation | None = None,
        crop_seconds: float | None = None,
        seed: int = 0,
        phase: str = "",
    ) -> None:
        self.config, self.encode, self.augmentation = config, encode, augmentation
        self.crop_seconds, self.seed, self.phase = crop_seconds, seed, phase

    def seeded(self, seed: int, phase: str) -> StreamedClips:
        """Return a copy of this dataset with another seed and phase."""
        return StreamedClips(
            self.config,
            self.encode,
            augmentation=self.augmentation,
            crop_seconds=self.crop_seconds,
            seed=seed,
            phase=phase,
        )

    def __iter__(self) -> Iterator[Item]:
        key, config = phase_key(self.phase), self.config
        rows = open_split(config, config.train)
        rows = rows.shuffle(seed=seed_of([self.seed], key), buffer_size=config.buffer)
        unusable, long = _Unusable(config), _TooLong(config)
        for epoch in count():
            rows.set_epoch(epoch)
            place = -1
            for place, clip in enumerate(_clips(config, config.train, rows, unusable, long)):
                unusable.check(place + 1)
                with random_by([self.seed, epoch, place], key):
                    item = self._item(clip)
                yield item
            if place < 0:
                raise DataError(f"{config.path}: no clip of {config.train} can be used")
            long.warn_once(epoch)

    def _item(self, clip: Clip) -> Item:
        samples = clip.waveform()
        if self.augmentation is not None:
            samples = self.augmentation(samples)
        samples = cropped(samples, self.crop_seconds, SAMPLE_RATE_HZ)
        try:
            label = self.encode(clip.target)
        except DataError as error:
            raise DataError(
                f"{clip.path}: {error}: the first {self.config.sample} clips of train did not have it; raise "
                "data.stream.sample"
            ) from error
        return {"input_values": samples} | ({} if label is None else {"labels": label})


class _TooLong:
    """Counts clips that are left out because they are too long and their target cannot be cut."""

    def __init__(self, config: StreamConfig) -> None:
        self.config, self.count = config, 0

    def __call__(self, words: str) -> None:
        self.count += 1

    def warn_once(self, epoch: int) -> None:
        """Log the count after the first epoch only: later epochs leave out the same clips."""
        if self.count and epoch == 0:
            logger.warning(
                "left out: %d clips of %s longer than %g s",
                self.count,
                self.config.train,
                self.config.max_seconds,
            )


class _Unusable:
    """Counts unusable clips that are left out, and stops the training if there are too many."""

    def __init__(self, config: StreamConfig) -> None:
        self.config, self.count = config, 0

    def __call__(self, words: str) -> None:
        self.count += 1
        if self.count <= _NAMED:
            more = "; further ones are not named" if self.count == _NAMED else ""
            logger.warning("left out: %s%s", words, more)

    def check(self, used: int) -> None:
        seen = used + self.count
        if seen >= _BAD_SEEN and self.count > _BAD_SHARE * seen:
            raise DataError(
                f"{self.config.path}: {self.count} of {seen} clips of {self.config.train} cannot be used "
                "(see the warnings above): clean it, or name its columns by data.stream.audio and data.target"
            )
