"""Reports as JSON, Markdown and HTML: whole, escaped, loading nothing, and read back."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from prune_ssl.errors import ArtifactError
from prune_ssl.reporting import Report
from tests.support.reports import HOSTILE


class Page(HTMLParser):
    """Collects tags, addresses and text; fails on tags that don't close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag != "meta":
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_json_reads_back_equal(made: Report, tmp_path: Path) -> None:
    assert Report.load(made.save(tmp_path / "new" / "report.json")) == made


def test_html_is_one_page_that_loads_nothing_and_escapes_everything(made: Report, tmp_path: Path) -> None:
    text = made.save(tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert all(address.startswith("#") for address in page.addresses)
    assert not re.search(r"url\((?!#)|@import", text)
    assert page.tags.count("svg") == 4
    assert HOSTILE in page.text
    assert "within noise" in page.text  # three calls claim nothing


def test_html_ids_are_unique_so_that_plots_do_not_borrow_from_each_other(
    made: Report, tmp_path: Path
) -> None:
    text = made.save(tmp_path / "report.html").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:xlink:href=\"#|url\(#)([^\")]+)", text)) <= set(ids)


def test_markdown_tables_are_whole_and_hostile_names_do_not_break_them(made: Report, tmp_path: Path) -> None:
    lines = made.save(tmp_path / "report.md").read_text(encoding="utf-8").splitlines()
    blocks: list[list[int]] = []
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|"):
            cells = len(re.findall(r"(?<!\\)\|", line))
            blocks = blocks if before.startswith("|") else [*blocks, []]
            blocks[-1].append(cells)
    assert len(blocks) >= 8
    assert all(len(set(block)) == 1 and len(block) >= 3 for block in blocks)
    assert not any("<script>" in line for line in lines)


def test_another_suffix_is_refused(made: Report, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"'\.pdf'; wanted one of \.json, \.md, \.html"):
        made.save(tmp_path / "report.pdf")
    with pytest.raises(ArtifactError, match=r"can't read .*nothing\.json"):
        Report.load(tmp_path / "nothing.json")
