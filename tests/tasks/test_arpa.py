"""N-gram models as ARPA text that no toolkit should believe: refused before KenLM sees them."""

import bz2
import gzip
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prune_ssl.errors import DataError
from prune_ssl.tasks.arpa import read_words
from tests.support.ngrams import arpa_text

TEXT = arpa_text()
NO_WORDS = "\\data\\\nngram 1=2\nngram 2=0\n\\1-grams:\n-1\t<s>\n-1\t</s>\n\\2-grams:\n\\end\\\n"

DAMAGED: dict[str, tuple[Callable[[str], str], str]] = {
    "positive": (lambda text: text.replace("-0.1\tONE", "0.1\tONE"), "wanted log10 of a probability"),
    "no number": (lambda text: text.replace("-0.1\tONE", "x\tONE"), r"line 15: found .*wanted log10"),
    "NaN": (lambda text: text.replace("-0.1\tONE", "nan\tONE"), "wanted log10 of a probability"),
    "infinite": (lambda text: text.replace("-0.1\tONE", "-inf\tONE"), "wanted log10 of a probability"),
    "weight": (lambda text: text.replace("ONE\t-0.3", "ONE\tzz"), "an optional number as back-off weight"),
    "1-gram twice": (lambda text: text.replace("\tTWO\t", "\tONE\t"), "this entry appears twice"),
    "2-gram twice": (lambda text: text.replace("ONE TWO", "ONE TOO"), "this entry appears twice"),
    "unknown word": (lambda text: text.replace("ONE TWO", "ONE SIX"), "SIX is not a 1-gram"),
    "three words": (lambda text: text.replace("ONE TWO", "ONE TWO TOO"), "wanted a number, 2 words"),
    "one word": (lambda text: text.replace("ONE TWO", "ONE"), "wanted a number, 2 words"),
    "count too high": (lambda text: text.replace("1=6", "1=60"), "60 1-grams are stated, 6 were found"),
    "count too low": (lambda text: text.replace("2=4", "2=3"), r"wanted \\end\\: an entry too many"),
    "huge count": (lambda text: text.replace("2=4", "2=99999999999"), "99999999999 2-grams are stated, 4"),
    "negative count": (lambda text: text.replace("2=4", "2=-4"), "1 orders are stated"),
    "order 0": (lambda text: text.replace("ngram 1", "ngram 0"), "wanted ngram 1=COUNT"),
    "order 7": (
        lambda text: text.replace("2=4", "2=4\n" + "\n".join(f"ngram {order}=0" for order in range(3, 8))),
        "7 orders are stated, wanted n-grams of 2 to 6",
    ),
    "no end": (lambda text: text.replace("\\end\\", ""), r"wanted \\end\\"),
    "behind the end": (lambda text: text + "-1\tONE\n", r"wanted nothing after \\end\\"),
    "a comment first": (lambda text: "# by me\n" + text, r"line 1: found '# by me': wanted \\data\\"),
    "a mark first": (lambda text: "\ufeff" + text, r"wanted \\data\\"),
    "wrong section": (lambda text: text.replace("\\2-grams:", "\\3-grams:"), r"wanted \\2-grams:"),
    "no begin": (lambda text: text.replace("<s>", "SS"), "no 1-gram <s>"),
    "no end of text": (lambda text: text.replace("</s>", "SS"), "no 1-gram </s>"),
    "the unknown twice": (lambda text: text.replace("TWO", "<UNK>"), "<unk> and <UNK> are the same word"),
    "zero bytes": (lambda text: text.replace("\\2-grams:", "\0\0\\2-grams:"), "not ARPA text in UTF-8"),
    "a long line": (lambda text: text.replace("\\2-grams:", "x" * 10**6), "not ARPA text in UTF-8"),
    "blank lines": (lambda text: text.replace("\\2-grams:", "\n" * 20_000), "blank lines in a row"),
    "empty": (lambda text: "", r"no words under \\1-grams"),
    "no words": (lambda text: NO_WORDS, r"no words under \\1-grams"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_model_is_refused_with_its_line(tmp_path: Path, kind: str, packed: bool) -> None:
    change, words = DAMAGED[kind]
    content = change(TEXT).encode()
    path = tmp_path / ("a.arpa.gz" if packed else "a.arpa")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=rf"a\.arpa.*: broken: .*{words}") as caught:
        read_words(path)
    assert len(str(caught.value)) < 500


PACKED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda data: gzip.compress(data)[:60], "not ARPA text"),
    "without its check sum": (lambda data: gzip.compress(data)[:-8], "not ARPA text"),
    "with another check sum": (lambda data: gzip.compress(data)[:-8] + bytes(8), "not ARPA text.*CRC"),
    "damaged within": (lambda data: gzip.compress(data)[:40] + b"\xff" * 9, "not ARPA text"),
    "another packer": (bz2.compress, "broken"),
    "a binary of KenLM": (lambda data: b"mmap lm\n\0" + bytes(90), "instead of a binary file of KenLM"),
    "Latin-1": (lambda data: data.replace(b"TWO", b"\xe9"), "not ARPA text in UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PACKED)
def test_a_damaged_archive_is_refused(tmp_path: Path, kind: str) -> None:
    pack, words = PACKED[kind]
    (tmp_path / "a.arpa.gz").write_bytes(pack(TEXT.encode()))
    with pytest.raises(DataError, match=rf"a\.arpa\.gz: .*{words}"):
        read_words(tmp_path / "a.arpa.gz")


@pytest.mark.parametrize("filling", [b"\n", b"\0", b"-1\tONE\n", b"-1\tONE TWO\n"])
def test_a_small_file_that_grows_without_end_is_refused_at_once(tmp_path: Path, filling: bytes) -> None:
    head = TEXT[: TEXT.index("-0.5\t<s>")].replace("2=4", "2=90000000")
    path = tmp_path / "bomb.arpa.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head.encode())
        for _ in range(100):
            file.write(filling * (10**6 // len(filling)))
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="broken"):
        read_words(path)
    assert time.process_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.arpa"
    {"missing": lambda: None, "folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}[kind]()
    with pytest.raises(DataError, match=r"a\.arpa: no such file"):
        read_words(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n\n", "\n"),
        lambda text: text.replace("\n\n", "\n\n\n"),
        lambda text: text.replace("-3\t<unk>\n", "").replace("1=6", "1=5"),
        lambda text: text.replace("ONE\t-0.3", "ONE"),
        lambda text: text.replace("TWO", "T\u00a0O"),
    ],
)
def test_models_that_toolkits_write_are_read(tmp_path: Path, change: Callable[[str], str]) -> None:
    text = change(TEXT)
    (tmp_path / "a.arpa").write_bytes(text.encode())
    (tmp_path / "packed").write_bytes(gzip.compress(text.encode()))
    words = ["ONE", "T\u00a0O" if "\u00a0" in text else "TWO", "TOO"]
    assert read_words(tmp_path / "a.arpa") == read_words(tmp_path / "packed") == words
