"""The catalogue: the table of a folder's recipes in docs/recipes.md."""

from collections.abc import Iterable
from pathlib import Path

from prune_ssl.errors import RecipeError
from prune_ssl.recipes.schema import Recipe, load_recipe, pruning_part

BEGIN = "<!-- recipes: `prune-ssl recipes recipes --into docs/recipes.md` writes what follows -->"
END = "<!-- end of the recipes -->"

COLUMNS = ("recipe", "task", "model", "data", "method", "the paper reports", "needs")


def load_all(folder: Path) -> list[tuple[Path, Recipe]]:
    """Load every recipe of a folder, sorted by name.

    Raises:
        RecipeError: a recipe is malformed, or there is none.
    """
    paths = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
    if not paths:
        raise RecipeError(f"{folder}: found no recipe (*.yaml), wanted a folder of recipes.")
    return [(path, load_recipe(path)) for path in paths]


def markdown_table(recipes: Iterable[tuple[Path, Recipe]]) -> str:
    """Return a Markdown table with one row per recipe."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for path, recipe in recipes:
        about = recipe.about
        model = recipe.model.name or f"{recipe.model.family}, from scratch"
        method = about.method
        if not recipe.only_fine_tunes:
            small = recipe.student.shown if recipe.student is not None else pruning_part(recipe).budget
            method += f", `{small}`"
        cells = (f"`{path.name}`", recipe.task, model, about.data, method, about.paper, about.needs)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def with_table(text: str, table: str) -> str:
    """Return a document with the table between its two marks. A document without marks stays unchanged."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n\n{table}\n{end}{after}" if begin and end else text
