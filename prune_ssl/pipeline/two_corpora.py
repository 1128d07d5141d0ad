"""Two corpora as one: the clips of both, each with the columns that its corpus fills and blanks elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle, islice

from prune_ssl.data import SLOT_MARK, Clip, SpeechFolder
from prune_ssl.errors import RecipeError
from prune_ssl.recipes.second_corpus import SecondCorpus
from prune_ssl.recipes.sections import DataPart

SPEAKER = "speaker"
"""The column that is judged by trials, whose list lies in the corpus that fills it."""

ReadFolder = Callable[[str, str], SpeechFolder]
"""Checks the corpus at a path, with these columns as its target."""


def read_both(data: DataPart, also: SecondCorpus, target: str, read: ReadFolder) -> SpeechFolder:
    """Check both corpora of a recipe, and return their clips as those of one.

    Args:
        data: The section `data`.
        also: Its second corpus.
        target: All columns, such as label|speaker.
        read: Checks one corpus.

    Returns:
        The clips of both corpora. Its path is that of the corpus with the speakers, for their trial list.

    Raises:
        RecipeError: a corpus fills columns that the target does not have, or no corpus fills one of them.
        DataError: a corpus cannot be used.
    """
    columns = target.split(SLOT_MARK)
    own = (data.fills or target).split(SLOT_MARK), also.fills.split(SLOT_MARK)
    for key, found in zip(("data.fills", "data.also.fills"), own, strict=True):
        unknown = [column for column in found if column not in columns]
        if unknown:
            raise RecipeError(f"{key}: found {unknown[0]!r}, wanted columns of data.target: {target}")
    empty = [column for column in columns if column not in own[0] + own[1]]
    if empty:
        raise RecipeError(f"data.target: neither data.fills nor data.also.fills has {empty[0]!r}")
    folders = [
        _widened(read(path, SLOT_MARK.join(filled)), filled, columns)
        for path, filled in zip((data.path, also.path), own, strict=True)
    ]
    first, second = folders
    splits = {
        split: (*first.splits.get(split, ()), *second.splits.get(split, ()))
        for split in dict.fromkeys([*first.splits, *second.splits])
    }
    splits["train"] = in_shares(first.splits["train"], second.splits["train"], also.share)
    speakers = second if SPEAKER in own[1] else first
    notes = [f"{folder.path}: {note}" for folder in folders for note in folder.notes]
    shown = [f"{len(folder.splits['train'])} clips of {folder.path}" for folder in folders]
    notes.append(f"train has {' and '.join(shown)}, {len(splits['train'])} with repeats")
    return SpeechFolder(speakers.path, splits, tuple(notes))


def in_shares(first: Sequence[Clip], second: Sequence[Clip], share: float | None) -> tuple[Clip, ...]:
    """Return the clips of both, where `share` of them are of the second. One of the two is repeated for it.

    >>> from pathlib import Path
    >>> one, two = (Clip(Path(name), "", 1.0) for name in ("one.wav", "two.wav"))
    >>> [clip.path.stem for clip in in_shares([one], [two], 0.75)]
    ['one', 'two', 'two', 'two']
    """
    if share is None:
        return (*first, *second)
    wanted = round(len(first) * share / (1 - share))
    if wanted >= len(second):
        return (*first, *islice(cycle(second), wanted))
    return (*islice(cycle(first), round(len(second) * (1 - share) / share)), *second)


def _widened(folder: SpeechFolder, filled: Sequence[str], columns: Sequence[str]) -> SpeechFolder:
    """Return the folder with targets of all columns, where those that it does not fill are blank."""

    def widened(clip: Clip) -> Clip:
        given = dict(zip(filled, clip.target.split(SLOT_MARK), strict=True))
        return replace(clip, target=SLOT_MARK.join(given.get(column, "") for column in columns))

    splits = {split: tuple(map(widened, clips)) for split, clips in folder.splits.items()}
    return replace(folder, splits=splits)
