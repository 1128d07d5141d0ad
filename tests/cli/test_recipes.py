"""The command `recipes`: a table of a folder, into a document, or one recipe to edit."""

from pathlib import Path

import pytest

from prune_ssl.recipes.catalogue import BEGIN, END
from prune_ssl.recipes.shipped import shipped_names
from tests.support.cli import run_cli
from tests.support.paths import RECIPES


def test_the_recipes_of_the_package_are_listed() -> None:
    result = run_cli("recipes")
    assert result.exit_code == 0, result.output
    assert all(f"`{name}.yaml`" in result.output for name in shipped_names())
    assert run_cli("recipes", RECIPES).output == result.output


def test_a_document_gets_the_table_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n{BEGIN}\nold\n{END}\nafter\n")
    result = run_cli("recipes", RECIPES, "--into", page)
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert text.startswith(f"# Before\n{BEGIN}\n\n| recipe |")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "old" not in text.splitlines()
    assert run_cli("recipes", RECIPES, "--into", page).exit_code == 0
    assert page.read_text() == text


@pytest.mark.parametrize("content", [None, b"no marks", b"\xff"])
def test_a_document_without_a_place_for_it_is_refused_and_left(tmp_path: Path, content: bytes | None) -> None:
    page = tmp_path / "page.md"
    if content is not None:
        page.write_bytes(content)
    result = run_cli("recipes", RECIPES, "--into", page)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert (page.read_bytes() if page.exists() else None) == content


def test_a_recipe_of_the_package_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = shipped_names()[0]
    assert run_cli("recipes", "--copy", name).exit_code == 0
    assert (tmp_path / f"{name}.yaml").read_bytes() == (RECIPES / f"{name}.yaml").read_bytes()
    (tmp_path / f"{name}.yaml").write_text("mine")
    assert run_cli("recipes", "--copy", name).exit_code == 2
    assert (tmp_path / f"{name}.yaml").read_text() == "mine"
