"""Files before they are read: whether there is one, its text in several encodings, and lines of messages."""

import codecs
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_ssl.data import files
from prune_ssl.data.files import file_problem, is_file, is_folder, numbered_lines, read_text, shown
from prune_ssl.errors import DataError

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\ufeff"), max_size=40)
ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


def test_a_file_has_no_problem(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    assert file_problem(tmp_path / "a") is None
    assert is_file(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert is_file(tmp_path / "link")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.symlink_to("gone"), "no such file (a link to gone)"),
        (lambda path: path.mkdir(), "no such file (a folder has this name)"),
        (lambda path: os.mkfifo(path), "no such file (a pipe, socket or device has this name)"),
    ],
)
def test_the_reason_why_there_is_no_file_is_said(tmp_path: Path, make, words: str) -> None:
    make(tmp_path / "a")
    assert file_problem(tmp_path / "a") == words
    assert not is_file(tmp_path / "a")
    with pytest.raises(DataError, match="a: not readable as a list: no such file"):
        read_text(tmp_path / "a", "a list")


@pytest.mark.parametrize("name", ["a\0b", "x" * 5_000])
def test_a_name_that_no_file_can_have_is_no_file_and_no_folder(tmp_path: Path, name: str) -> None:
    assert str(file_problem(tmp_path / name)).startswith("no such file (")
    assert not is_folder(tmp_path / name)


def test_a_folder_is_one_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert is_folder(tmp_path / "link")
    assert not is_folder(tmp_path / "gone")


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=15)
@given(text=TEXT)
def test_text_comes_back_from_every_encoding_with_a_mark(tmp_path_factory, encoding: str, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "encoded.txt"
    path.write_bytes(ENCODINGS[encoding] + text.encode(encoding))
    assert read_text(path) == text


def test_a_second_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(codecs.BOM_UTF8 * 2 + b"x")
    assert read_text(tmp_path / "a") == "x"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a\nb\n\xff\n", "line 3 holds the byte 0xff: save it as UTF-8"),
        (b"a\nb\0c\n", "line 2 holds a zero byte"),
        (codecs.BOM_UTF16_LE + b"a", "line 1 holds the byte 0x61"),
    ],
)
def test_another_encoding_is_refused_with_the_line(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_text(tmp_path / "a")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"x" * 11)
    monkeypatch.setattr(files, "MOST_TEXT_BYTES", 10)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it was read"))
    with pytest.raises(DataError, match="is too large for a table"):
        read_text(tmp_path / "a", "a table")


def test_what_may_not_be_read_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a").write_text("x")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"a: not readable \(Permission denied\)"):
        read_text(tmp_path / "a")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@settings(max_examples=30)
@given(lines=st.lists(TEXT.filter(lambda text: not {"\n", "\r"} & set(text)), max_size=6))
def test_lines_have_their_numbers_whatever_ends_them(end: str, lines: list[str]) -> None:
    wanted = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    assert list(numbered_lines(end.join(lines))) == wanted


@given(text=st.text(max_size=300))
def test_what_is_shown_is_one_short_line_that_can_be_printed(text: str) -> None:
    found = shown(text, 20)
    assert found.isprintable()
    if len(text) <= 20 and text.isprintable():
        assert found == text
    if len(text) > 20:
        assert found.endswith(f"... ({len(text)} characters)")
