"""The layouts of a report: Markdown, and one self-contained HTML page."""

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

from prune_ssl.reporting import formatting as form
from prune_ssl.reporting import plots
from prune_ssl.reporting.answer import tiles, verdict
from prune_ssl.reporting.content import Section, Table, sections, summary
from prune_ssl.reporting.model import ReportData

_TEXT_TABLES = frozenset({"budget", "drawn", "measured on", "method", "next best", "value"})
"""Headings of columns that hold text, not numbers."""

_MANY = 7
"""A table with more columns than this is set in small type."""

_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:[kMGT]B?|B|m?s|points)\b)")
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
    warnings = "".join(f'<p class="warning">{escape(warning)}</p>' for warning in data.warnings)
    body = _answer(data) + warnings + "\n".join(_html_section(data, each) for each in sections(data))
    return page(data.title, _subtitle(data), body)


def page(title: str, subtitle: str, body: str, more_style: str = "") -> str:
    """Return one HTML page in the style of reports.

    Args:
        title: The title as plain text.
        subtitle: The line below it as plain text.
        body: The content as HTML.
        more_style: CSS rules that are added to those of all pages.
    """
    room = files(__package__)
    return Template((room / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        style=(room / "page.css").read_text(encoding="utf-8") + more_style,
        body=body,
    )


def html_summary(data: ReportData) -> str:
    """Return the title, the verdict and the main numbers as a piece of HTML without style."""
    return f"<p><b>{escape(data.title)}</b></p><p>{escape(verdict(data))}</p>{html_table(summary(data))}"


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
    return f"{data.model.architecture}, {form.date_in_words(data.created)}"


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
    told = [html_table(table) for table in section.tables]
    if section.notes:
        told.append(f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in section.notes)}</ul>")
    if section.folded:
        kind = " class=printed" if section.printed else ""
        told = [f"<details{kind}><summary>Show</summary>", *told, "</details>"]
    parts += told
    return f"<section>{''.join(parts)}</section>"


def html_table(table: Table, links: Sequence[str] = ()) -> str:
    """Return a table as HTML. It can be scrolled, also with the keyboard, if it is wider than the screen.

    Args:
        table: The table.
        links: The addresses to which the first cells of the rows lead. Empty: they lead nowhere.
    """

    def row(cells: list[str], scope: str, link: str = "") -> str:
        written = (
            _html_cell(
                cell,
                scope if scope == "col" or column == 0 else "",
                _is_text(table, column),
                "" if column else link,
            )
            for column, cell in enumerate(cells)
        )
        return f"<tr>{''.join(written)}</tr>"

    given = links or [""] * len(table.rows)
    body = "".join(row(cells, "row", link) for cells, link in zip(table.rows, given, strict=True))
    head = row(table.columns, "col")
    kind = " class=wide" if len(table.columns) > _MANY else ""
    return (
        f"<div class=scroll tabindex=0><table{kind}><thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _html_cell(text: str, scope: str, is_text: bool, link: str = "") -> str:
    """Return a cell; a heading has the scope `col` or `row`. An empty corner is no heading."""
    kind = " class=text" if is_text else ""
    shown = _BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", escape(text))
    shown = f'<a href="{escape(link)}">{shown}</a>' if link else shown
    return f"<th scope={scope}{kind}>{shown}</th>" if scope and text else f"<td{kind}>{shown}</td>"
