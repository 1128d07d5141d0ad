"""The examples in docstrings run as they stand and print what they say."""

import ast
import doctest
import importlib
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def docstrings(file: Path) -> list[Any]:
    """Module, line and text of each docstring with an example."""
    found = []
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")

    def visit(node: ast.AST, name: str) -> None:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text and ">>>" in text:
                found.append(pytest.param(module, getattr(node, "lineno", 1), text, id=name))
            for child in node.body:
                visit(child, f"{name}.{getattr(child, 'name', '')}")

    visit(ast.parse(file.read_text(encoding="utf-8")), module)
    return found


WITH_EXAMPLES = [
    each
    for file in sorted((ROOT / "prune_ssl").rglob("*.py"))
    if ">>>" in file.read_text(encoding="utf-8")
    for each in docstrings(file)
]


@pytest.mark.parametrize(("module", "line", "text"), WITH_EXAMPLES)
def test_the_example_prints_what_it_says(
    module: str, line: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # an example may write
    names = dict(vars(importlib.import_module(module)))
    example = doctest.DocTestParser().get_doctest(text, names, module, module, line)
    told: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=told.append)
    assert result.attempted
    assert not result.failed, "".join(told)


def test_an_example_that_is_wrong_fails() -> None:
    example = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "sum", "sum", 1)
    assert doctest.DocTestRunner(optionflags=FLAGS).run(example, out=lambda text: None).failed == 1
