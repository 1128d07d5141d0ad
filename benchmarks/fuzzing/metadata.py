"""Lists of clips as people have them: metadata.csv and .jsonl of many programs, manifests, Kaldi's tables."""

import csv
import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from fuzzing.case import Case
from prune_ssl.data import FolderConfig, check_folder
from prune_ssl.errors import DataError

LABELS = [
    "yes",
    "no",
    "007",
    "1.0",
    "1e3",
    "NA",
    "nan",
    "None",
    "null",
    "True",
    "0",
    "-1",
    "ja, nein",
    'a "b" c',
]
LABELS += [
    "=1+1",
    "@cmd",
    "ä",
    "音",
    "a;b",
    "a\tb",
    "a  b",
    "1.50",
    "2020-01-01",
    "#1",
    "\u2028x",
    "\x85y",
    "' '",
]
NAMES = [
    "a",
    "b c",
    "ä",
    "x,y",
    "x;y",
    "007",
    "d'e",
    "-f",
    "g.h",
    "%20",
    "#1",
    "UP",
    "sub/k",
    "(1)",
    "m=n",
    "~",
]
INDEX = ("", "Unnamed: 0", "Unnamed: 0.1", "index")

Row = dict[str, str]


def make(rng: random.Random, place: Path) -> Case:
    """Return a corpus of one or two splits whose train has an odd list."""
    rows = _rows(rng, place)
    kind = rng.choice(
        [_table, _table, _table, _table, _objects, _objects, _manifest, _kaldi, _harmed, _harmed, _outside]
    )
    return kind(rng, place, rows)


def _rows(rng: random.Random, place: Path) -> list[Row]:
    """A few clips of train, and one of validation under the first label."""
    names, labels = rng.sample(NAMES, rng.randint(1, 5)), rng.sample(LABELS, 3)
    rows = []
    for name in names:
        path = place / "train" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        _clip(path)
        rows.append(
            {"file_name": f"{name}.wav", "label": rng.choice(labels), "speaker": rng.choice(["", "s1", "07"])}
        )
    (place / "validation").mkdir()
    _clip(place / "validation" / "v.wav")
    with (place / "validation" / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file_name", "label"], ["v.wav", rows[0]["label"]]])
    return rows


def _clip(path: Path) -> None:
    soundfile.write(path, 0.3 * np.sin(np.arange(500) / 9), 16_000, format="WAV", subtype="PCM_16")


def _table(rng: random.Random, place: Path, rows: list[Row]) -> Case:
    """A CSV that says what it means, in one of the dialects of the world."""
    columns = ["file_name", "label", "speaker"]
    rng.shuffle(columns)
    table = [[row[name] for name in columns] for row in rows]
    words, header = [], list(columns)
    if rng.random() < 0.4:
        header.insert(0, rng.choice(INDEX))
        table = [[str(number), *fields] for number, fields in enumerate(table)]
        words.append(f"index {header[0]!r}")
    if rng.random() < 0.2:
        header, table = (
            [*header, "note"],
            [[*fields, rng.choice(["", "x, y", "line\nbreak", "z" * 200_000])] for fields in table],
        )
    if rng.random() < 0.15:
        header, table = [*header, ""], [[*fields, ""] for fields in table]
        words.append("trailing delimiters")
    if rng.random() < 0.2:
        style = rng.choice([str.upper, str.title, str.capitalize])
        header = [style(name) for name in header]
        words.append("other case")
    if rng.random() < 0.15:
        header = [f" {name} " for name in header]
        words.append("spaces around names")
    dialect = rng.choice([",", ",", ",", ";", "\t"])
    end = rng.choice(["\r\n", "\n", "\r"])
    file = io.StringIO(newline="")
    # Where lines end by \r alone, the writer leaves \n without quotation marks.
    quoting = csv.QUOTE_ALL if end == "\r" else rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    writer = csv.writer(file, delimiter=dialect, lineterminator=end, quoting=quoting)
    writer.writerow(header)
    for fields in table:
        if rng.random() < 0.1:
            file.write(rng.choice([end, end + end, dialect * (len(header) - 1) + end]))
        writer.writerow(fields)
    text = file.getvalue()
    text = text.rstrip("\r\n") if rng.random() < 0.2 else text
    encoding = rng.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16"])
    (place / "train" / "metadata.csv").write_bytes(text.encode(encoding))
    label = f"{encoding}, {dialect!r}, {end!r}, {', '.join(words)}: {text[:200]!r}"
    return Case(label, lambda: _require(place, rows, must=True))


def _objects(rng: random.Random, place: Path, rows: list[Row]) -> Case:
    """A metadata.jsonl, right or with a row that is not."""
    lines, must = [], True
    for row in rows:
        entry: dict[str, Any] = dict(row)
        for name in ("label", "speaker"):
            if rng.random() < 0.1:
                del entry[name]
                must = must and name == "speaker"
                row[name] = ""
        lines.append(json.dumps(entry, ensure_ascii=rng.random() < 0.5))
    if rng.random() < 0.4:
        must, first = False, json.dumps(rows[0]["file_name"])
        odd = [
            "[1]", "7", "null", '"text"', "{", "{'a': 1}", "[" * 100_000, '{"a":' * 5_000, "{}", "NaN",
            '{"file_name": ["a.wav"], "label": "a"}', '{"file_name": 5, "label": "a"}',
            '{"file_name": null}', '{"file_name": "\\u0000.wav", "label": "a"}',
            f'{{"file_name": "{"x" * 5_000}", "label": "a"}}', '{"file_name": ".", "label": "a"}',
            '{"file_name": "a\\nb.wav", "label": "a"}', f'{{"file_name": {first}, "label": ["a"]}}',
            f'{{"file_name": {first}, "label": {{"a": 1}}}}',
            f'{{"file_name": {first}, "label": "a", "label": "b"}}',
            f'{{"file_name": {first}, "label": "\\ud800"}}',
        ]  # fmt: skip
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(odd))
    elif rng.random() < 0.3:
        number = rng.choice(["7", "1.50", "1e3", "-0", "9" * 5_000, "1E400", "NaN", "Infinity", "true"])
        text = {"true": "True"}.get(number, number)
        lines[0] = f'{{"file_name": {json.dumps(rows[0]["file_name"])}, "label": {number}}}'
        rows[0] |= {"label": text, "speaker": ""}
        (place / "validation" / "metadata.csv").write_text(f"file_name,label\nv.wav,{text}\n")
    content = "\n".join(lines)
    (place / "train" / "metadata.jsonl").write_bytes(
        content.encode(rng.choice(["utf-8", "utf-8", "utf-8-sig"]))
    )
    if rng.random() < 0.1:  # beside a table that says the same, or not
        shown = rows if rng.random() < 0.5 else [*rows, rows[0]]
        must = must and shown is rows
        with (place / "train" / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["file_name", "label", "speaker"])
            writer.writeheader()
            writer.writerows(shown)
    return Case(content[:300], lambda: _require(place, rows, must))


def _manifest(rng: random.Random, place: Path, rows: list[Row]) -> Case:
    """Manifests in the root: lists of paths, absolute ones too."""
    for split, listed in (
        ("train", rows),
        ("validation", [{"file_name": "v.wav", "label": rows[0]["label"]}]),
    ):
        lines = []
        for row in listed:
            path = (
                (place / split / row["file_name"]) if rng.random() < 0.5 else Path(split) / row["file_name"]
            )
            more = rng.choice([{}, {"duration": 0.031}, {"offset": 0}, {"duration": None, "offset": None}])
            key = rng.choice(["audio_filepath", "audio_filepath", "file_name"])
            lines.append(
                json.dumps({key: str(path)} | {k: v for k, v in row.items() if k != "file_name"} | more)
            )
        (place / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return Case(lines[0], lambda: _require(place, rows, must=True))


def _kaldi(rng: random.Random, place: Path, rows: list[Row]) -> Case:
    """wav.scp and text; some entries are commands, which must never run."""
    must, ran = True, place / "ran"
    for split, listed in (
        ("train", rows),
        ("validation", [{"file_name": "v.wav", "label": rows[0]["label"]}]),
    ):
        (place / split / "metadata.csv").unlink(missing_ok=True)
        mark, scp, text = rng.choice([" ", "\t"]), [], []
        for number, row in enumerate(listed):
            path = str(place / split / row["file_name"])
            if rng.random() < 0.1:
                path = rng.choice(
                    [
                        f"touch {ran} |",
                        f"| touch {ran}",
                        f"$(touch {ran})",
                        f"`touch {ran}`",
                        "-",
                        "-|",
                        f"{path}:12",
                    ]
                )
                must = False
            scp.append(f"utt{number}{mark}{path}")
            label = row["label"].strip()
            must = must and bool(label) and not {"\n", "\r"} & set(label)
            text.append(f"utt{number}{mark}{label}")
        if rng.random() < 0.1:
            must = False
            harm = rng.choice(["twice", "missing", "segments"])
            if harm == "segments":
                (place / split / "segments").write_text("utt0 utt0 0.0 1.0\n")
            else:
                text = [*text, text[0]] if harm == "twice" else text[1:]
        (place / split / "wav.scp").write_text("\n".join(scp) + "\n", encoding="utf-8")
        (place / split / "text").write_text("\n".join(text), encoding="utf-8")

    def act() -> None:
        try:
            _require(place, [{**row, "speaker": ""} for row in rows], must, target="text")
        finally:
            assert not ran.exists(), "a command of wav.scp was run"

    return Case(f"{scp} {text}", act)


def _harmed(rng: random.Random, place: Path, rows: list[Row]) -> Case:
    """A list that is not what it should be."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["file_name", "label", "speaker"])
    writer.writerows([row["file_name"], row["label"], row["speaker"]] for row in rows)
    text = file.getvalue()
    path = place / "train" / "metadata.csv"
    name = rng.choice(["path", "audio", "filename", "file", "FILE NAME", "file_name,file_name", ""])
    makers: dict[str, Callable[[], bytes]] = {
        "empty": lambda: rng.choice([b"", b"\n\n", b"\xef\xbb\xbf", b"   ", b","]),
        "header only": lambda: b"file_name,label\r\n",
        "no header": lambda: text.partition("\r\n")[2].encode(),
        "name": lambda: text.replace("file_name", name, 1).encode(),
        "label twice": lambda: text.replace("speaker", "label", 1).encode(),
        "latin-1": lambda: text.encode("latin-1", "replace") + b"\xe9.wav,yes,\r\n",
        "utf-16 without mark": lambda: text.encode("utf-16-le"),
        "zero byte": lambda: text.replace(",", "\0,", 1).encode(),
        "open quote": lambda: (
            text.replace("label", '"label', 1).encode()
            if rng.random() < 0.3
            else (text + '"a.wav,yes').encode()
        ),
        "stray quote": lambda: (text + '"a"b.wav,yes,\r\n').encode(),
        "too many fields": lambda: (text + rows[0]["file_name"] + ",yes,s,more\r\n").encode(),
        "too few fields": lambda: (text + rows[0]["file_name"] + "\r\n").encode(),
        "long": lambda: (text + "x" * 1_000_000 + ",yes,s\r\n").encode(),
        "many columns": lambda: ("c," * 20_000 + text).encode(),
        "json": lambda: json.dumps(rows).encode(),
        "page": lambda: b"<!DOCTYPE html>\n<html>404</html>\n",
        "zip": lambda: b"PK\x03\x04" + rng.randbytes(200),
        "cut": lambda: text.encode()[: rng.randrange(len(text))],
        "bytes": lambda: _scrambled(rng, text.encode()),
        "escape": lambda: (text + "\x1b[31m.wav,yes,\r\n").encode(),
    }
    kind = rng.choice([*makers, "folder", "pipe", "loop"])
    if kind in makers:
        path.write_bytes(makers[kind]())
    else:
        {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "loop": lambda: path.symlink_to(path)}[kind]()
    named = f" {name!r}" if kind == "name" else ""

    def act() -> None:
        found = check_folder(place, FolderConfig(closed_labels=False)).splits["train"]
        # Whatever is taken must stand so in the file, as Python's own csv reads it.
        data = path.read_bytes().decode("utf-8-sig")
        parsed = list(csv.reader(io.StringIO(data, newline="")))
        for clip in found:
            fields = {clip.path.relative_to(place / "train").as_posix(), clip.target}
            assert any(fields <= {each.strip() for each in row} for row in parsed), f"{fields} is in no row"
        assert len(found) == sum(any(each.strip() for each in row) for row in parsed) - 1, "rows are gone"

    return Case(f"{kind}{named}: {text[:150]!r}", act)


def _scrambled(rng: random.Random, data: bytes) -> bytes:
    spoilt = bytearray(data)
    for _ in range(rng.choice([1, 3, 10])):
        spoilt[rng.randrange(len(spoilt))] = rng.choice(b',;"\n\r\t \xff\0ab0')
    return bytes(spoilt)


def _outside(rng: random.Random, place: Path, rows: list[Row]) -> Case:
    """A file name that leads out of the corpus: refused, and read where it is allowed."""
    root, secret = place / "corpus", place / "secret.wav"
    root.mkdir()
    for split in ("train", "validation"):
        (place / split).rename(root / split)
    _clip(secret)
    kind = rng.choice(["absolute", "dots", "link", "linked folder", "more dots"])
    (root / "train" / "link.wav").symlink_to(secret)
    (root / "train" / "linked").symlink_to(place)
    name = {
        "absolute": str(secret), "dots": "../../secret.wav", "link": "link.wav",
        "linked folder": "linked/secret.wav", "more dots": "./../train/../../secret.wav",
    }[kind]  # fmt: skip
    listed = [*rows, {"file_name": name, "label": rows[0]["label"], "speaker": ""}]
    if rng.random() < 0.5:
        (root / "train" / "metadata.jsonl").write_text("\n".join(map(json.dumps, listed)))
    else:
        with (root / "train" / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["file_name", "label", "speaker"])
            writer.writeheader()
            writer.writerows(listed)
    allowed = rng.random() < 0.3

    def act() -> None:
        found = check_folder(root, FolderConfig(outside=allowed)).splits["train"]
        assert allowed, "a file outside the corpus was read"
        assert len(found) == len(listed)

    return Case(f"{kind} {name}, {'allowed' if allowed else 'not allowed'}", act)


def _require(place: Path, rows: list[Row], must: bool, target: str = "label") -> None:
    """Read the corpus; what is taken must be the rows as they were meant."""
    try:
        found = check_folder(place, FolderConfig(target=target)).splits["train"]
    except DataError as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert not must, f"refused: {refused}"
        raise refused
    wanted = [(Path(row["file_name"]).name, row["label"].strip(), row["speaker"] or None) for row in rows]
    assert [(clip.path.name, clip.target, clip.speaker) for clip in found] == wanted
