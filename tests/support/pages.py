"""Parts of the documentation that tests write, between two marks."""

from pathlib import Path


def part_of(page: Path, begin: str, end: str) -> str:
    """Return the text between the marks."""
    return page.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip()


def put_part(page: Path, begin: str, end: str, text: str) -> None:
    """Replace the text between the marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def table_in(text: str) -> dict[str, dict[str, str]]:
    """Return the cells of the only table of a text: row -> column -> cell."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}
