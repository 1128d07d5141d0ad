"""Pages of the documentation site that are made from the source. MkDocs calls the functions `on_...`.

The reference of the Python API, of recipe keys and of commands is not written by hand, and the README, the
changelog and CONTRIBUTING.md are pages of the site too.
"""

import subprocess
import sys
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from prune_ssl.fields_in_help import field_texts

ROOT = Path(__file__).parents[1]
COPIED = {"readme.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Page of the site -> file at the top of the repository."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    for name, source in COPIED.items():
        _add(files, config, name, (ROOT / source).read_text(encoding="utf-8"))
    _add(files, config, "reference/python.md", python_reference())
    _add(files, config, "reference/recipe_keys.md", recipe_keys())
    _add(files, config, "reference/commands.md", commands())
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files at the top of the repository, and from them into docs, lead to the pages here."""
    for name, source in COPIED.items():
        markdown = markdown.replace(f"](../{source})", f"]({name})").replace(f"]({source})", f"]({name})")
    return markdown.replace("](docs/", "](") if page.file.src_uri in COPIED else markdown


def _add(files: Files, config: MkDocsConfig, name: str, text: str) -> None:
    files.append(File.generated(config, name, content=text))


@cache
def python_reference() -> str:
    """Return the page of all public names, by the docstrings."""
    names = griffe.load("prune_ssl", search_paths=[str(ROOT)], allow_inspection=False).exports or []
    shown = sorted((str(name) for name in names if not str(name).startswith("__")), key=str.lower)
    return "\n\n".join(["# Python", *(f"::: prune_ssl.{name}" for name in shown)]) + "\n"


@cache
def recipe_keys() -> str:
    """Return the page of all keys of a recipe, section by section, from its schema."""
    from prune_ssl.recipes.schema import Recipe

    parts = [
        "# Recipe keys\n\nMade from the source. On the command line, a key of a section has a dot: "
        "`pruning.budget=macs=50%`. `null` leaves a key or a whole section out."
    ]
    waiting: list[tuple[str, type]] = [("", Recipe)]
    while waiting:
        section, kind = waiting.pop(0)
        rows, hints, texts = [], get_type_hints(kind), field_texts(kind)
        for name, default in _defaults(kind).items():
            inner = _section_of(hints[name])
            if inner is not None:
                waiting.append((f"{section}.{name}".lstrip("."), inner))
            shown = "section" if inner is not None else _shown_type(hints[name])
            rows.append(f"| `{name}` | {_cell(shown)} | {_cell(default)} | {_cell(texts.get(name, ''))} |")
        head = "| key | type | default | meaning |\n|---|---|---|---|"
        parts.append("\n".join([f"## {section or 'The recipe'}\n", head, *rows]))
    return "\n\n".join(parts) + "\n"


def _defaults(kind: type) -> dict[str, str]:
    """Return the default of each field of a pydantic model or a dataclass; empty where one must be given."""
    if issubclass(kind, BaseModel):
        given = {
            name: PydanticUndefined if f.is_required() else f.default for name, f in kind.model_fields.items()
        }
    else:
        given = {
            f.name: f.default_factory() if f.default_factory is not MISSING else f.default
            for f in fields(kind)  # type: ignore[arg-type]
        }
    return {name: _shown_default(value) for name, value in given.items()}


def _shown_default(value: object) -> str:
    if value in (MISSING, PydanticUndefined):
        return "must be given"
    if isinstance(value, BaseModel) or is_dataclass(value):
        return ""
    if isinstance(value, tuple):
        value = list(value)
    return f"`{'null' if value is None else str(value).lower() if isinstance(value, bool) else value}`"


def _section_of(hint: object) -> type | None:
    """Return the class of a nested section, or None for a plain value."""
    if isinstance(hint, type) and (issubclass(hint, BaseModel) or is_dataclass(hint)):
        return hint
    found = (_section_of(each) for each in get_args(hint) if get_origin(hint) in (Union, UnionType))
    return next((each for each in found if each is not None), None)


def _shown_type(hint: object) -> str:
    """Return a type in the words of YAML."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_shown_type, inner)))
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in inner)
    if hint is NoneType:
        return "`null`"
    name = getattr(origin or hint, "__name__", str(hint))
    words = {
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "`true`, `false`",
        "Path": "path",
    }
    lists = {"tuple": "list", "list": "list", "Sequence": "list", "dict": "mapping", "Mapping": "mapping"}
    return words.get(name) or lists.get(name) or name


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "&#124;")


@cache
def commands() -> str:
    """Return the page of all commands, as typer documents them."""
    asked = (sys.executable, "-m", "typer", "prune_ssl.cli.app", "utils", "docs", "--name", "prune-ssl")
    found = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    return found.stdout.replace("# `prune-ssl`", "# Commands", 1).replace("**Usage**:", "Usage:")
