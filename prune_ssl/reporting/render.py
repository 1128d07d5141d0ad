"""The layouts of a report: Markdown, and one self-contained HTML page."""

from html import escape
from importlib.resources import files
from string import Template

from prune_ssl.reporting import plots
from prune_ssl.reporting.content import Section, Table, sections
from prune_ssl.reporting.model import ReportData

_TEXT_TABLES = frozenset({"measured on", "value"})
"""Headings of columns that hold text, not numbers."""


def markdown(data: ReportData) -> str:
    """Return the report as GitHub-flavoured Markdown, without the plots."""
    lines = [f"# {escaped(data.title)}", "", _subtitle(data), ""]
    for warning in data.warnings:
        lines += [f"> **Warning:** {escaped(warning)}", ""]
    for section in sections(data):
        lines += [f"## {escaped(section.title)}", ""]
        for table in section.tables:
            lines += [*markdown_table(table), ""]
        lines += [f"- {escaped(note)}" for note in section.notes]
        if section.notes:
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def html(data: ReportData) -> str:
    """Return the report as one HTML page with inline style and SVG plots, without scripts or other files."""
    room = files(__package__)
    warnings = "".join(f'<p class="warning">{escape(warning)}</p>' for warning in data.warnings)
    return Template((room / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(data.title),
        subtitle=escape(_subtitle(data)),
        style=(room / "page.css").read_text(encoding="utf-8"),
        body=warnings + "\n".join(_html_section(data, section) for section in sections(data)),
    )


def _subtitle(data: ReportData) -> str:
    return f"{data.model.architecture}, {data.created}"


def escaped(text: str) -> str:
    """Return a text that is safe in a Markdown table: all marks are escaped, line breaks become spaces."""
    for character in "\\|*_<>[]`":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ")


def _is_text(table: Table, column: int) -> bool:
    return column == 0 or table.columns[column] in _TEXT_TABLES


def markdown_table(table: Table) -> list[str]:
    """Return the lines of a Markdown table, with text left-aligned and numbers right-aligned."""
    rules = ["---" if _is_text(table, column) else "---:" for column in range(len(table.columns))]
    rows = [table.columns, *table.rows]
    cells = [f"| {' | '.join(escaped(cell) for cell in row)} |" for row in rows]
    return [cells[0], f"| {' | '.join(rules)} |", *cells[1:]]


def _html_section(data: ReportData, section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    parts += [
        f"<figure>{plots.draw(data, name)}<figcaption>{escape(plots.CAPTIONS[name])}</figcaption></figure>"
        for name in section.plots
    ]
    parts += [_html_table(table) for table in section.tables]
    if section.notes:
        parts.append(f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in section.notes)}</ul>")
    return f"<section>{''.join(parts)}</section>"


def _html_table(table: Table) -> str:
    def row(cells: list[str], tag: str) -> str:
        written = (
            f"<{tag}{' class=text' if _is_text(table, column) else ''}>{escape(cell)}</{tag}>"
            for column, cell in enumerate(cells)
        )
        return f"<tr>{''.join(written)}</tr>"

    body = "".join(row(cells, "td") for cells in table.rows)
    head = row(table.columns, "th")
    return f"<div class=scroll><table><thead>{head}</thead><tbody>{body}</tbody></table></div>"
