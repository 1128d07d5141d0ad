"""A room may import only rooms to its left."""

import ast
import importlib
import inspect
import pkgutil
import sys
from pathlib import Path

import pytest

import prune_ssl

ORDER = (
    "lazy_names",
    "fields_in_help",
    "errors",
    "version",
    "assets",
    "on_import",
    "writing",
    "models",
    "families",
    "tracing",
    "optimising",
    "runtimes",
    "selection",
    "gating",
    "resizing",
    "profiling",
    "data",
    "tasks",
    "distillation",
    "training",
    "probing",
    "artifacts",
    "importing",
    "exporting",
    "measuring",
    "reporting",
    "recipes",
    "pipeline",
    "sweeping",
    "cli",
)
ROOT = Path(prune_ssl.__file__).parent


def rooms_imported(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [
        f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module == "prune_ssl"
        for alias in node.names
    ]
    parts = [name.split(".") for name in names]
    return {part[1] for part in parts if part[0] == "prune_ssl" and len(part) > 1 and part[1] in ORDER}


# The package's own __init__ and __main__ may import everything.
FILES = [file for file in sorted(ROOT.rglob("*.py")) if file.parent != ROOT or not file.name.startswith("__")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_room_imports_only_rooms_to_its_left(file: Path) -> None:
    room = file.relative_to(ROOT).parts[0].removesuffix(".py")
    assert room in ORDER, f"{room} has no place in the order: add it to ORDER"
    wrong = {name for name in rooms_imported(file) if ORDER.index(name) > ORDER.index(room)}
    assert not wrong, f"{room} imports {sorted(wrong)}, which come after it: {' -> '.join(ORDER)}"


NAMES = sorted(module.name for module in pkgutil.walk_packages(prune_ssl.__path__, "prune_ssl."))


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("__main__")])
def test_no_function_hides_a_module_or_bears_its_name(name: str) -> None:
    module = importlib.import_module(name)
    parent, _, leaf = name.rpartition(".")
    assert getattr(sys.modules[parent], leaf) is module
    own = [item for item in vars(module).values() if getattr(item, "__module__", None) == name]
    assert not any(inspect.isfunction(item) and item.__name__ == leaf for item in own)
