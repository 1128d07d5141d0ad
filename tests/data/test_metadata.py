"""Lists of clips as programs and people write them: read as they are meant, or refused with file and line."""

import csv
import io
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from prune_ssl.data import FolderConfig, SurveyConfig, check_folder, survey
from prune_ssl.errors import DataError
from tests.support.cli import status_and_output

NAMES = ("a.wav", "b.wav", "c d.wav")


def clip(path: Path, hz: int = 9) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(os.fsencode(path), 0.3 * np.sin(np.arange(500) / hz), 16_000, format="WAV")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus whose train has clips and no list."""
    root = tmp_path / "corpus"
    for index, name in enumerate(NAMES):
        clip(root / "train" / name, 9 + index)
    clip(root / "validation" / "v.wav", 30)
    (root / "validation" / "metadata.csv").write_text("file_name,label\nv.wav,yes\n")
    return root


def found(root: Path, target: str = "label") -> list[tuple[str, str]]:
    opened = check_folder(root, FolderConfig(target=target, closed_labels=False))
    return [(clip.path.name, clip.target) for clip in opened.splits["train"]]


PLAIN = [("a.wav", "yes"), ("b.wav", "007"), ("c d.wav", "ja, nein")]
BODY = 'a.wav,yes\nb.wav,007\nc d.wav,"ja, nein"\n'

READ = {
    "the index of pandas": ',file_name,label\n0,a.wav,yes\n1,b.wav,007\n2,c d.wav,"ja, nein"\n',
    "that index, read back": 'Unnamed: 0,file_name,label\n0,a.wav,yes\n1,b.wav,007\n2,c d.wav,"ja, nein"',
    "two indexes": ',Unnamed: 0,file_name,label\n0,0,a.wav,yes\n1,1,b.wav,007\n2,2,c d.wav,"ja, nein"\n',
    "a byte order mark": f"\ufefffile_name,label\n{BODY}",
    "Windows line ends": f"file_name,label\n{BODY}".replace("\n", "\r\n"),
    "old Mac line ends": f"file_name,label\n{BODY}".replace("\n", "\r"),
    "semicolons": "file_name;label\na.wav;yes\nb.wav;007\nc d.wav;ja, nein\n",
    "quoted, with semicolons": '"file_name";"label"\n"a.wav";"yes"\n"b.wav";"007"\n"c d.wav";"ja, nein"\n',
    "tabs": "file_name\tlabel\na.wav\tyes\nb.wav\t007\nc d.wav\tja, nein\n",
    "trailing commas": 'file_name,label,,\na.wav,yes,,\nb.wav,007,,\nc d.wav,"ja, nein",,\n',
    "commas behind rows only": 'file_name,label\na.wav,yes,\nb.wav,007,,\nc d.wav,"ja, nein"\n',
    "blank lines": f"\nfile_name,label\n\n{BODY}\n,\n\n",
    "other case": f"File_Name,LABEL\n{BODY}",
    "spaces": 'file_name , label\na.wav , yes\n b.wav, 007\nc d.wav , "ja, nein"\n',
    "dots and slashes": 'file_name,label\n./a.wav,yes\n../train/b.wav,007\n./c d.wav,"ja, nein"\n',
    "backslashes": 'file_name,label\n.\\a.wav,yes\n..\\train\\b.wav,007\n.\\c d.wav,"ja, nein"\n',
    "an unused column twice": 'file_name,note,note,label\na.wav,,,yes\nb.wav,1,2,007\nc d.wav,,,"ja, nein"\n',
    "a long field": f'file_name,label,note\na.wav,yes,{"x" * 10**6}\nb.wav,007,\nc d.wav,"ja, nein",\n',
    "line ends in a field": 'file_name,note,label\na.wav,"1\n2",yes\nb.wav,"\r\n",007\nc d.wav,,"ja, nein"\n',
}


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_table_is_read_as_it_is_meant(corpus: Path, kind: str, encoding: str) -> None:
    (corpus / "train" / "metadata.csv").write_bytes(READ[kind].encode(encoding))
    assert found(corpus) == PLAIN


LABELS = ["007", "1.0", "1e3", "-0", "NA", "NaN", "nan", "None", "null", "True", "=1+1", "@x", "1_000", "½"]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_fields_stay_text(corpus: Path, name: str) -> None:
    file = io.StringIO(newline="")
    if name == "metadata.csv":
        csv.writer(file).writerows([["file_name", "label"], *(["a.wav", label] for label in LABELS)])
    else:
        file.writelines(json.dumps({"file_name": "a.wav", "label": label}) + "\n" for label in LABELS)
    (corpus / "train" / name).write_text(file.getvalue(), encoding="utf-8")
    assert [label for _, label in found(corpus)] == LABELS


def test_numbers_of_json_stay_as_they_are_written(corpus: Path) -> None:
    numbers = ["1.50", "1e3", "7", "-0", "9" * 5_000, "1E400", "NaN"]
    lines = [f'{{"file_name": "a.wav", "label": {number}}}' for number in numbers]
    (corpus / "train" / "metadata.jsonl").write_text("\n".join(lines))
    assert [label for _, label in found(corpus)] == numbers


def test_only_line_ends_part_the_lines_of_a_list(corpus: Path) -> None:
    label = "a\u2028b\x85c\x0bd\x1ce"
    line = json.dumps({"file_name": "a.wav", "label": label}, ensure_ascii=False)
    (corpus / "train" / "metadata.jsonl").write_text(line + "\r\n\r\n", encoding="utf-8")
    assert found(corpus) == [("a.wav", label)]


REFUSED = {
    "empty": (b"", "metadata.csv: no column 'file_name'.*found an empty file"),
    "blank": (b" \n\r\n", "found an empty file"),
    "only a mark": (b"\xef\xbb\xbf", "found an empty file"),
    "header only": (b"file_name,label\n", "it has a header but no clips"),
    "another name": (b"path,label\na.wav,yes\n", "rename 'path' to 'file_name'"),
    "Latin-1": (b"file_name,label\na.wav,yes\nb.wav,caf\xe9\n", "in UTF-8: line 3 holds the byte 0xe9"),
    "UTF-16 without its mark": ("file_name,label\n".encode("utf-16-le"), "line 1 holds a zero byte"),
    "zero byte": (b"file_name,label\na.wav,y\0es\n", "line 2 holds a zero byte"),
    "label twice": (b"file_name,label,label\na.wav,yes,no\n", "2 columns are named 'label'"),
    "a comma too many": (b"file_name,label\na.wav,yes\nb.wav,ja, nein\n", "line 3 has 3 fields"),
    "a row name more": (
        b'"file_name","label"\n"1","a.wav","yes"\n',
        "line 2 has 3 fields .* header has 2",
    ),
    "an open quotation mark": (b'file_name,label\na.wav,"yes\nb.wav,no\n', "not readable as CSV.*line 3"),
    "a stray quotation mark": (b'file_name,label\na.wav,"y"es\n', "not readable as CSV.*line 2"),
    "a field missing": (b"file_name,label\na.wav\n", r"train/a\.wav: its label in metadata\.csv is empty"),
    "a page": (b"<!DOCTYPE html>\n<html>404</html>\n", "no column 'file_name' and no column 'label'"),
    "a long name": (b"file_name,label\n" + b"x" * 1_000_000 + b",yes\n", "no such file .File name too long"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_damaged_table_is_refused_with_file_and_line(corpus: Path, kind: str) -> None:
    content, words = REFUSED[kind]
    (corpus / "train" / "metadata.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"(?s){words}") as caught:
        check_folder(corpus)
    assert len(str(caught.value)) < 1_000
    assert "metadata.csv" in str(caught.value)


BAD_OBJECTS = {
    "[1]": "line 2 is not a JSON object: a list",
    "{": "line 2 is not a JSON object",
    "[" * 100_000: "line 2 is not a JSON object: too deeply nested",
    '{"a":' * 100_000: "line 2 is not a JSON object: too deeply nested",
    '{"file_name": "a.wav", "label": "x", "label": "y"}': "line 2 .*'label' is in it twice",
    '{"file_name": "a.wav", "label": ["x"]}': r"line 2: its label is \['x'\], wanted text or a number",
    '{"file_name": {"path": "a.wav"}, "label": "x"}': "line 2: its file_name is .*, wanted text",
    '{"file_name": "a.wav", "label": "\\ud800"}': "line 2 .*half of a character",
    '{"file_name": "a\\u0000.wav", "label": "x"}': "1 of 3 clips.*no such file",
    '{"file_name": ".", "label": "x"}': "no such file .a folder has this name",
    '{"label": "x"}': "a row has no file_name",
}


@pytest.mark.parametrize("line", BAD_OBJECTS, ids=lambda line: line[:40])
def test_a_damaged_line_of_objects_is_refused_with_its_number(corpus: Path, line: str) -> None:
    (corpus / "train" / "metadata.jsonl").write_text(f'{{"file_name": "a.wav", "label": "x"}}\n{line}\n')
    with pytest.raises(DataError, match=f"(?s){BAD_OBJECTS[line]}") as caught:
        check_folder(corpus, FolderConfig(closed_labels=False))
    assert len(str(caught.value)) < 1_000


def test_line_numbers_count_blank_lines(corpus: Path) -> None:
    (corpus / "train" / "metadata.jsonl").write_text("\n\n[1]\n")
    with pytest.raises(DataError, match="line 3 is not"):
        check_folder(corpus)


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_a_list_that_is_no_file_is_refused_and_never_waited_for(corpus: Path, kind: str) -> None:
    path = corpus / "train" / "metadata.csv"
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "loop": lambda: path.symlink_to(path)}[kind]()
    with pytest.raises(DataError, match=r"train: no metadata\.csv in it \("):
        check_folder(corpus)


def test_two_lists_of_one_split_must_agree(corpus: Path) -> None:
    (corpus / "train" / "metadata.csv").write_text("file_name,label,note\na.wav,yes,1\nb.wav,no,2\n")
    objects = [{"file_name": "b.wav", "label": "no"}, {"file_name": "a.wav", "label": "yes"}]
    (corpus / "train" / "metadata.jsonl").write_text("\n".join(map(json.dumps, objects)))
    assert found(corpus) == [("a.wav", "yes"), ("b.wav", "no")]
    (corpus / "train" / "metadata.jsonl").write_text("\n".join(map(json.dumps, objects[:1])))
    with pytest.raises(DataError, match=r"metadata\.csv lists 2 .*metadata\.jsonl 1, and they differ"):
        check_folder(corpus)


@pytest.mark.slow
def test_a_long_list_is_read_in_seconds(tmp_path: Path) -> None:
    from prune_ssl.data.layouts import read_listings

    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
    rows = "".join(f"{index},clip{index}.wav,yes\n" for index in range(200_000))
    (tmp_path / "train" / "metadata.csv").write_text(",file_name,label\n" + rows)
    (tmp_path / "validation" / "metadata.csv").write_text("file_name,label\na.wav,yes\n")
    began = time.process_time()
    assert len(read_listings(tmp_path, "label")["train"].rows) == 200_000
    assert time.process_time() - began < 20


OUTSIDE = ("{secret}", "../../secret.wav", "../train/../../secret.wav", "link.wav", "linked/secret.wav")


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", ["metadata.csv", "metadata.jsonl"])
def test_a_file_name_may_not_lead_out_of_the_corpus(corpus: Path, name: str, kind: str) -> None:
    secret = corpus.parent / "secret.wav"
    clip(secret)
    (corpus / "train" / "link.wav").symlink_to(secret)
    (corpus / "train" / "linked").symlink_to(corpus.parent)
    name = name.format(secret=secret)
    content = f"file_name,label\n{name},yes\n"
    if kind == "metadata.jsonl":
        content = json.dumps({"file_name": name, "label": "yes"})
    (corpus / "train" / kind).write_text(content)
    with pytest.raises(
        DataError, match=r"outside the corpus, at .*secret\.wav: put the file .*data\.outside"
    ):
        check_folder(corpus)
    (finding,) = survey(corpus).of_kind("broken")
    assert "outside the corpus" in finding.words
    assert len(check_folder(corpus, FolderConfig(outside=True)).splits["train"]) == 1
    assert not survey(corpus, SurveyConfig(min_seconds=0.01, outside=True)).of_kind("broken")
    code, output = status_and_output("doctor", "data", corpus)
    assert (code, "outside the corpus" in output) == (1, True)
    code, output = status_and_output("doctor", "data", corpus, "--outside")
    assert code == 0, output


def test_absolute_names_and_links_within_the_corpus_are_read(corpus: Path, tmp_path: Path) -> None:
    (corpus / "audio").mkdir()
    clip(corpus / "audio" / "x.wav", 50)
    (corpus / "train" / "x.wav").symlink_to(corpus / "audio" / "x.wav")
    rows = f"x.wav,yes\n{corpus / 'train' / 'a.wav'},yes\n../audio/x.wav,no\n"
    (corpus / "train" / "metadata.csv").write_text(f"file_name,label\n{rows}")
    assert len(found(corpus)) == 3
    (tmp_path / "link").symlink_to(corpus)
    assert len(found(tmp_path / "link")) == 3
    moved = tmp_path / "disk" / "train"
    moved.parent.mkdir()
    (corpus / "train").rename(moved)  # a split on another disk
    (corpus / "train").symlink_to(moved)
    (moved / "metadata.csv").write_text("file_name,label\na.wav,yes\n")
    assert found(corpus) == [("a.wav", "yes")]


def test_a_snapshot_in_the_cache_of_the_hub_is_read(corpus: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "datasets--x" / "blobs", tmp_path / "datasets--x" / "snapshots" / "abc"
    (corpus / "train" / "metadata.csv").write_text(f"file_name,label\n{BODY}")
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(corpus.rglob("*.*"))):
        path.rename(blobs / f"{number:064x}")
        link = snapshot / path.relative_to(corpus)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blobs / f"{number:064x}")
    assert found(snapshot) == PLAIN


def test_manifests_are_lists_of_paths(corpus: Path, tmp_path: Path) -> None:
    clip(tmp_path / "elsewhere.wav")
    for split in ("train", "validation"):
        line = json.dumps({"audio_filepath": str(tmp_path / "elsewhere.wav"), "label": "yes"})
        (corpus / f"{split}.jsonl").write_text(line)
    assert found(corpus) == [("elsewhere.wav", "yes")]


def kaldi(corpus: Path, scp: str, text: str) -> None:
    for split in ("train", "validation"):
        (corpus / split / "wav.scp").write_text(scp.format(wav=corpus / "train" / "a.wav", root=corpus))
        (corpus / split / "text").write_text(text)
        (corpus / split / "metadata.csv").unlink(missing_ok=True)


def test_tables_of_kaldi_may_be_parted_by_tabs(corpus: Path) -> None:
    kaldi(corpus, "u1\t{wav}\n", "u1\tHELLO  WORLD\n")
    assert found(corpus, "text") == [("a.wav", "HELLO  WORLD")]


@pytest.mark.parametrize(
    ("scp", "text", "words"),
    [
        ("u1 touch {root}/ran |\n", "u1 A\n", "u1 is a command"),
        ("u1 | touch {root}/ran\n", "u1 A\n", "u1 is a command"),
        ("u1 $(touch {root}/ran)\n", "u1 A\n", "no such file"),
        ("u1 {wav}\nu1 {wav}\n", "u1 A\n", r"wav\.scp: line 2 lists u1 again"),
        ("u1 {wav}\n", "u1 A\nu1 B\n", "text: line 2 lists u1 again"),
    ],
)
def test_tables_of_kaldi_never_run_and_never_contradict_themselves(
    corpus: Path, scp: str, text: str, words: str
) -> None:
    kaldi(corpus, scp, text)
    with pytest.raises(DataError, match=words):
        check_folder(corpus, FolderConfig(target="text"))
    assert not (corpus / "ran").exists()


SAME = {
    "absolute": lambda corpus: str(corpus / "train" / "a.wav"),
    "dots": lambda corpus: "../train/./a.wav",
    "symbolic link": lambda corpus: (corpus / "validation" / "l.wav").symlink_to(corpus / "train" / "a.wav"),
    "hard link": lambda corpus: os.link(corpus / "train" / "a.wav", corpus / "validation" / "l.wav"),
    "copy": lambda corpus: (corpus / "validation" / "l.wav").write_bytes(
        (corpus / "train" / "a.wav").read_bytes()
    ),
    "other container": lambda corpus: _as_flac(corpus),
    "two equal channels": lambda corpus: _as_stereo(corpus),
}


def _as_flac(corpus: Path) -> str:
    samples, rate = soundfile.read(corpus / "train" / "a.wav", dtype="int16")
    soundfile.write(corpus / "validation" / "l.flac", samples, rate)
    return "l.flac"


def _as_stereo(corpus: Path) -> str:
    samples, rate = soundfile.read(corpus / "train" / "a.wav", dtype="int16")
    soundfile.write(corpus / "validation" / "l.wav", np.stack([samples, samples], axis=1), rate)
    return "l.wav"


@pytest.mark.parametrize("kind", SAME)
def test_a_clip_of_train_is_known_again_in_validation(corpus: Path, kind: str) -> None:
    (corpus / "train" / "metadata.csv").write_text("file_name,label\na.wav,yes\nb.wav,yes\n")
    given = SAME[kind](corpus)
    name = given if isinstance(given, str) else "l.wav"
    (corpus / "validation" / "metadata.csv").write_text(f"file_name,label\nv.wav,yes\n{name},no\n")
    (finding,) = survey(corpus).of_kind("duplicated")
    assert "train/a.wav, with the label 'no' here and 'yes' there" in finding.words
    one_file = kind in ("absolute", "dots", "symbolic link", "hard link")
    assert finding.words.startswith("the same file as" if one_file else "the same audio as")
    notes = check_folder(corpus, FolderConfig(closed_labels=False)).notes
    assert any("1 of 2 clips of validation are in train too" in note for note in notes) == one_file


def test_a_file_listed_twice_with_two_labels_is_said(corpus: Path) -> None:
    (corpus / "train" / "metadata.csv").write_text("file_name,label\na.wav,yes\na.wav,no\nb.wav,no\n")
    (finding,) = survey(corpus).of_kind("duplicated")
    assert finding.words.endswith("with the label 'no' here and 'yes' there")
    notes = check_folder(corpus).notes
    assert "1 files of train are listed more than once, with different targets" in notes


def test_roots_that_are_no_folder_are_refused(tmp_path: Path) -> None:
    for root in (tmp_path / ("x" * 300), tmp_path / "a\0b"):
        with pytest.raises(DataError, match="no such folder"):
            check_folder(root)
        with pytest.raises(DataError, match="no such folder"):
            survey(root)
    for number in (float("nan"), float("inf"), -1.0):
        with pytest.raises(DataError, match="max_seconds: found"):
            FolderConfig(max_seconds=number)


def test_findings_about_names_that_are_not_in_utf8_are_printed(corpus: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    for word in (name, "yes"):
        for number in range(2):
            clip(corpus.parent / "words" / word / f"x_nohash_{number}.wav", 9 + number)
    root = corpus.parent / "words"
    (root / "validation_list.txt").write_text("yes/x_nohash_1.wav\n")
    (root / "testing_list.txt").write_text("")
    soundfile.write(os.fsencode(root / name / "x_nohash_0.wav"), np.zeros(500), 16_000, format="WAV")
    code, output = status_and_output("doctor", "data", root)
    assert (code, "caf\\udce9" in output) == (1, True), output
    code, output = status_and_output("doctor", "data", root / name)
    assert (code, "caf\\udce9" in output) == (2, True), output
