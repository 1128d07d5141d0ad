"""The layouts of a report: Markdown, and one self-contained HTML page."""

import re
from html import escape
from importlib.resources import files
from string import Template

from prune_ssl.reporting import plots
from prune_ssl.reporting.answer import tiles, verdict
from prune_ssl.reporting.content import Section, Table, sections, summary
from prune_ssl.reporting.model import ReportData

_TEXT_TABLES = frozenset({"drawn", "measured on", "value"})
"""Headings of columns that hold text, not numbers."""

_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:[kMGT]?B?|m?s|points)\b)")
"""The space between a number and its unit, where no line may break."""


def markdown(data: ReportData) -> str:
    """Return the report as GitHub-flavoured Markdown, without the plots."""
    lines = [f"# {escaped(data.title)}", "", _subtitle(data), ""]
    if answer := verdict(data):
        lines += [escaped(answer), ""]
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
        body=_answer(data) + warnings + "\n".join(_html_section(data, each) for each in sections(data)),
    )


def html_summary(data: ReportData) -> str:
    """Return the title, the verdict and the main numbers as a piece of HTML without style."""
    return f"<p><b>{escape(data.title)}</b></p><p>{escape(verdict(data))}</p>{_html_table(summary(data))}"


def _answer(data: ReportData) -> str:
    """Return the first screen: the verdict, and the tiles."""
    shown = "".join(
        f"<div class=tile><h2>{escape(tile.name)}</h2><p class=figure>{escape(tile.figure)}</p>"
        f"{''.join(f'<p>{escape(line)}</p>' for line in tile.details)}</div>"
        for tile in tiles(data)
    )
    sentence = verdict(data)
    said = f"<p class=verdict>{escape(sentence)}</p>" if sentence else ""
    return f"<section class=answer>{said}<div class=tiles>{shown}</div></section>"


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
    for name in section.plots:
        caption = f"<figcaption>{escape(plots.CAPTIONS[name])}</figcaption>"
        parts.append(f"<figure tabindex=0>{plots.draw(data, name)}{caption}</figure>")
    told = [_html_table(table) for table in section.tables]
    if section.notes:
        told.append(f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in section.notes)}</ul>")
    if section.folded:
        told = ["<details><summary>Show</summary>", *told, "</details>"]
    parts += told
    return f"<section>{''.join(parts)}</section>"


def _html_table(table: Table) -> str:
    def row(cells: list[str], scope: str) -> str:
        written = (
            _html_cell(cell, scope if scope == "col" or column == 0 else "", _is_text(table, column))
            for column, cell in enumerate(cells)
        )
        return f"<tr>{''.join(written)}</tr>"

    body = "".join(row(cells, "row") for cells in table.rows)
    head = row(table.columns, "col")
    # A table or plot that is wider than the screen can be scrolled with the keyboard too.
    return f"<div class=scroll tabindex=0><table><thead>{head}</thead><tbody>{body}</tbody></table></div>"


def _html_cell(text: str, scope: str, is_text: bool) -> str:
    """Return a cell; a heading has the scope `col` or `row`. An empty corner is no heading."""
    kind = " class=text" if is_text else ""
    shown = _BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", escape(text))
    return f"<th scope={scope}{kind}>{shown}</th>" if scope and text else f"<td{kind}>{shown}</td>"
