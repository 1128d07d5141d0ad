"""Tables of clips as people and programs write them: read as they are meant, or refused by file and line."""

import csv
import io
import json
import os
import time
from pathlib import Path

import pytest

from prune_ssl.data import FolderConfig, check_folder, survey
from prune_ssl.errors import DataError
from prune_ssl.tasks import Slots, TaskSettings
from tests.support.folders import write_metadata
from tests.support.lists import BODY, PLAIN, found

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


def test_roots_that_are_no_folder_are_refused(tmp_path: Path) -> None:
    for root in (tmp_path / ("x" * 300), tmp_path / "a\0b"):
        with pytest.raises(DataError, match="no such folder"):
            check_folder(root)
        with pytest.raises(DataError, match="no such folder"):
            survey(root)
    for number in (float("nan"), float("inf"), -1.0):
        with pytest.raises(DataError, match="max_seconds: found"):
            FolderConfig(max_seconds=number)


def test_a_target_may_join_columns(folder: Path) -> None:
    for split in ("train", "validation"):
        rows = [("0.wav", "play", "music"), ("1.wav", "set", "alarm")]
        write_metadata(folder / split, rows, header=("file_name", "action", "scenario"))  # type: ignore[arg-type]
    opened = check_folder(folder, FolderConfig(target="scenario+action"))
    assert opened.labels == ("alarm_set", "music_play")
    with pytest.raises(DataError, match=r"no column 'intent': .*wanted file_name,scenario,intent"):
        check_folder(folder, FolderConfig(target="scenario+intent"))
    rows = [("0.wav", "play", "music"), ("1.wav", "", "alarm")]
    write_metadata(folder / "train", rows, header=("file_name", "action", "scenario"))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"train/1\.wav: its scenario\+action in metadata\.csv is empty"):
        check_folder(folder, FolderConfig(target="scenario+action"))


def test_a_slot_may_join_columns(folder: Path) -> None:
    for split in ("train", "validation"):
        rows = [("0.wav", "play", "music", "ann"), ("1.wav", "set", "alarm", "bob")]
        write_metadata(folder / split, rows, header=("file_name", "action", "scenario", "speaker"))  # type: ignore[arg-type]
    opened = check_folder(folder, FolderConfig(target="scenario+action|speaker"))
    assert opened.labels == ("alarm_set|bob", "music_play|ann")
    slots = Slots.from_folder(opened, settings=TaskSettings(target="scenario+action|speaker"))
    assert list(slots.segments) == ["scenario+action", "speaker"]
    assert slots.encode("music_play|ann") == [1, 0]
