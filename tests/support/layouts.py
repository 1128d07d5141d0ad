"""Small corpora in several layouts."""

import json
from pathlib import Path

import numpy as np
import soundfile


def write_clip(path: Path, seconds: float = 0.2, hz: float = 300.0) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(16_000 * seconds)) / 16_000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hz * time), 16_000)
    return path.name


def jsonl(root: Path) -> None:
    for split in ("train", "validation"):
        rows = [
            {"file_name": write_clip(root / split / f"{word}.wav"), "label": word, "speaker": 7}
            for word in ("no", "yes")
        ]
        (root / split / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


def manifests(root: Path) -> None:
    for split in ("train", "dev"):
        rows = []
        for word in ("no", "yes"):
            write_clip(root / "audio" / f"{split}-{word}.wav")
            rows.append({"audio_filepath": f"audio/{split}-{word}.wav", "label": word, "speaker": "7"})
        (root / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


def odd_corpus(root: Path) -> None:
    jsonl(root)
    train, time = root / "train", np.arange(16_000) / 16_000
    loud = np.clip(1.5 * np.sin(2 * np.pi * 200 * time), -1, 32767 / 32768)
    soundfile.write(train / "clipped.wav", loud, 16_000)
    soundfile.write(train / "silent.wav", np.zeros(8_000), 16_000)
    (train / "broken.wav").write_bytes(b"RIFF")
    write_clip(train / "short.wav", 0.05, hz=500)
    write_clip(train / "long.wav", 1.5, hz=500)
    # The same audio in another container, in another split.
    samples, rate = soundfile.read(train / "no.wav", dtype="int16")
    soundfile.write(root / "validation" / "copy.flac", samples, rate)
    soundfile.write(root / "validation" / "yes.wav", -samples, rate)
    with (train / "metadata.jsonl").open("a") as file:
        names = ("clipped.wav", "silent.wav", "broken.wav", "short.wav", "long.wav", "gone.wav")
        file.write("".join(json.dumps({"file_name": name, "label": "x"}) + "\n" for name in names))
    (root / "validation" / "metadata.jsonl").write_text(
        "".join(json.dumps({"file_name": name, "speaker": 7}) + "\n" for name in ("yes.wav", "copy.flac"))
    )
    rows = [{"file_name": name, "speaker": 7} for name in ("no.wav", "yes.wav")]
    lines = (train / "metadata.jsonl").read_text().splitlines()[2:]
    soundfile.write(train / "yes.wav", samples // 2, rate)
    (train / "metadata.jsonl").write_text("\n".join([*map(json.dumps, rows), *lines]))
