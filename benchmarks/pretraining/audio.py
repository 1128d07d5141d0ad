"""All training audio of the corpora, decoded once into a memory-mapped file of 16-bit samples."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from prune_ssl.writing import new_file, write_text

SAMPLE_RATE_HZ = 16_000
TRAIN = "train"
"""The only split that is read."""
SHORTEST_SECONDS = 0.4
FULL_SCALE = 32_767
SAMPLES, INDEX = "audio.int16", "audio.json"


@dataclass(frozen=True)
class Corpus:
    """A corpus of `--data`, with its licence as its own README states it."""

    folder: str
    about: str
    licence: str


CORPORA = (
    Corpus("speech_pool", "speechocean762, part without transcripts", "free, also commercially; attribution"),
    Corpus("speechocean_full", "speechocean762", "free, also commercially; attribution"),
    Corpus("arabic_commands", "Arabic Speech Commands", "CC BY 4.0"),
    Corpus("an4_asr", "CMU AN4", "Carnegie Mellon BSD-style"),
    Corpus("coffee_intents", "Picovoice speech-to-intent benchmark", "Apache-2.0"),
    Corpus("wake_words", "Picovoice wake-word benchmark", "Apache-2.0"),
    Corpus("english_words_gsc", "Google Speech Commands", "CC BY 4.0"),
    Corpus("librispeech_unlabelled", "LibriSpeech", "CC BY 4.0"),
)


@dataclass(frozen=True)
class Piece:
    """One clip in the file of samples."""

    corpus: str
    name: str
    speaker: str
    """The speaker with the corpus before it; empty if nobody knows."""
    start: int
    length: int
    """Both are in samples."""


class Store:
    """The decoded clips of a folder.

    Args:
        folder: The folder that `decode` has filled.
    """

    def __init__(self, folder: Path) -> None:
        found = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        self.pieces = tuple(Piece(**each) for each in found)
        self.samples = np.memmap(folder / SAMPLES, dtype=np.int16, mode="r")

    @property
    def seconds(self) -> float:
        """The length of all clips together."""
        return sum(piece.length for piece in self.pieces) / SAMPLE_RATE_HZ

    def clip(self, index: int) -> npt.NDArray[np.float32]:
        """Return a whole clip (N,) with mean 0 and variance 1, as the feature extractor makes it."""
        piece = self.pieces[index]
        audio = self.samples[piece.start : piece.start + piece.length].astype(np.float32)
        audio -= audio.mean()
        return audio / np.float32(np.sqrt(audio.var() + 1e-7))


def decode(data: Path, folder: Path, corpora: Sequence[Corpus] = CORPORA) -> Store:
    """Decode the training clips of all corpora, if `folder` does not hold them yet.

    Raises:
        ValueError: a clip is not mono or has another rate, or there is no clip.
    """
    if not (folder / INDEX).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        pieces: list[Piece] = []
        with new_file(folder / SAMPLES) as path, path.open("wb") as file:
            place = 0
            for corpus in corpora:
                for name, speaker in _listed(data / corpus.folder / TRAIN):
                    samples = _read(data / corpus.folder / TRAIN / name)
                    if len(samples) < SHORTEST_SECONDS * SAMPLE_RATE_HZ:
                        continue
                    file.write(samples.tobytes())
                    whose = f"{corpus.folder}/{speaker}" if speaker else ""
                    pieces.append(Piece(corpus.folder, name, whose, place, len(samples)))
                    place += len(samples)
        if not pieces:
            names = ", ".join(each.folder for each in corpora)
            raise ValueError(f"{data}: found no training clip of {names}")
        write_text(folder / INDEX, json.dumps([asdict(piece) for piece in pieces]))
    return Store(folder)


def _listed(folder: Path) -> list[tuple[str, str]]:
    """Return the clips of a split with their speakers."""
    if not folder.is_dir():
        return []
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(row["file_name"], row.get("speaker") or row.get("pseudo_speaker") or "") for row in rows]


def _read(path: Path) -> npt.NDArray[np.int16]:
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != SAMPLE_RATE_HZ or samples.ndim != 1:
        raise ValueError(f"{path}: found {rate} Hz and shape {samples.shape}, wanted 16 kHz mono")
    return (np.clip(samples, -1, 1) * FULL_SCALE).round().astype(np.int16)
