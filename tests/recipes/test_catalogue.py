"""The table of recipes, and where it stands in a document."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.errors import RecipeError
from prune_ssl.recipes.catalogue import BEGIN, COLUMNS, END, load_all, markdown_table, with_table
from tests.support.paths import RECIPES, ROOT


def test_every_recipe_has_a_row_of_all_columns() -> None:
    recipes = load_all(RECIPES)
    lines = markdown_table(recipes).splitlines()
    assert len(lines) == 2 + len(recipes)
    assert all(line.count(" | ") == len(COLUMNS) - 1 for line in [lines[0], *lines[2:]])
    for (path, recipe), line in zip(recipes, lines[2:], strict=True):
        assert line.startswith(f"| `{path.name}` | {recipe.task} | ")
        assert (recipe.model.name or "from scratch") in line


def test_the_page_shows_this_table() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text()
    assert with_table(page, markdown_table(load_all(RECIPES))) == page


TEXTS = st.text(st.sampled_from("ab \n<!-"), max_size=20)


@given(before=TEXTS, old=TEXTS, after=TEXTS, table=TEXTS)
def test_only_what_is_between_the_marks_changes(before: str, old: str, after: str, table: str) -> None:
    page = f"{before}{BEGIN}{old}{END}{after}"
    found = with_table(page, table)
    assert found == f"{before}{BEGIN}\n\n{table}\n{END}{after}"
    assert with_table(found, table) == found


@pytest.mark.parametrize("page", ["", "no marks", BEGIN, END, f"{END}{BEGIN}"])
def test_a_page_without_both_marks_stays_as_it_is(page: str) -> None:
    assert with_table(page, "table") == page


def test_a_folder_without_recipes_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(RecipeError, match=r"found no recipe \(\*\.yaml\), wanted a folder of recipes"):
            load_all(folder)
    (tmp_path / "a.yaml").write_text("a: [1,")
    with pytest.raises(RecipeError, match=r"a\.yaml is not valid YAML"):
        load_all(tmp_path)
