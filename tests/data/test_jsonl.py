"""Lists of JSON objects: values as they are written, and damaged lines refused with their number."""

import json
from pathlib import Path

import pytest

from prune_ssl.data import FolderConfig, check_folder
from prune_ssl.errors import DataError
from tests.support.lists import found


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
