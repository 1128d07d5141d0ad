"""Pages of the documentation site that are made from the source. MkDocs calls the functions `on_...`.

The reference of the Python API, of recipe keys and of commands is not written by hand, and the README, the
changelog and CONTRIBUTING.md are pages of the site too.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
COPIED = {"readme.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Page of the site -> file at the top of the repository."""
ROOMS_OF_RECIPES = ("recipes.schema", "recipes.sections", "gating.config", "distillation.config")


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
    """Return the page of all keys of a recipe: the fields of its sections, and their docstrings."""
    parts = [
        "# Recipe keys\n\nMade from the source. On the command line, a key of a section has a dot: "
        "`pruning.budget=macs=50%`. Settings that are shared with the Python API are listed with it: "
        "[PruningConfig](python.md#prune_ssl.PruningConfig) has the keys of `pruning` and "
        "[DistillationConfig](python.md#prune_ssl.DistillationConfig) those of `distillation`."
    ]
    package = griffe.load("prune_ssl", search_paths=[str(ROOT)], allow_inspection=False)
    for room in ROOMS_OF_RECIPES:
        for found in package[room].classes.values():
            rows = list(_fields(found))
            if rows and not found.name.startswith("_"):
                head = "| key | type | default | meaning |\n|---|---|---|---|"
                parts.append("\n".join([f"## {found.name}\n\n{_flat(found)}\n", head, *rows]))
    return "\n\n".join(parts) + "\n"


def _fields(found: griffe.Class) -> Iterator[str]:
    for field in found.attributes.values():
        if field.docstring and not field.name.startswith("_") and field.annotation is not None:
            default = "" if field.value is None else f"`{_cell(str(field.value))}`"
            yield f"| `{field.name}` | `{_cell(str(field.annotation))}` | {default} | {_cell(_flat(field))} |"


def _flat(found: griffe.Object) -> str:
    text = found.docstring.value if found.docstring else ""
    return " ".join(re.split(r"\n\s*\n", text)[0].split())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


@cache
def commands() -> str:
    """Return the page of all commands, as typer documents them."""
    asked = (sys.executable, "-m", "typer", "prune_ssl.cli.app", "utils", "docs", "--name", "prune-ssl")
    found = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    return found.stdout.replace("# `prune-ssl`", "# Commands", 1).replace("**Usage**:", "Usage:")
