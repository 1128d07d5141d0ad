"""A recipe is written so that it reads back equal; its name is a plain one, its output may be anywhere."""

import json
from pathlib import Path

import pytest
from faulting.runs import METHODS, TINY

from prune_ssl.errors import ArtifactError, RecipeError
from prune_ssl.pipeline import folders
from prune_ssl.recipes import load_recipe, make_recipe
from prune_ssl.recipes.written import recipe_as_yaml


def recipe_of(folder, **more):
    settings = {"name": "tones", "data": {"path": "tones"}, "output": str(folder)}
    return make_recipe(settings | METHODS["one_shot"] | more)


@pytest.mark.parametrize(
    "name", ["../../x", "a/b", "/x", "..", ".", "", "  ", "a\\b", "a\nb", "a\0b", "n" * 300]
)
def test_a_name_that_is_no_plain_name_is_refused(tmp_path, name):
    with pytest.raises(RecipeError, match=r"name: .*wanted a plain name"):
        recipe_of(tmp_path / "out", name=name)
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_as_yaml(recipe_of(tmp_path / "out")))
    with pytest.raises(RecipeError, match=r"wanted a plain name|control character"):
        load_recipe(path, [f"name={json.dumps(name)}"])


@pytest.mark.parametrize("name", ["tones", "..x", "a.b", "Größe 2", "\N{BANANA}", "-"])
def test_a_plain_name_is_taken_and_an_output_may_be_anywhere(tmp_path, name):
    recipe = recipe_of(tmp_path / "a" / ".." / "out", name=name)
    assert recipe.name == name
    assert recipe.folder == tmp_path / "a" / ".." / "out"
    assert recipe_of("runs/{name}", name=name).folder == Path("runs") / name


ABOUT = {"a text like a number": "1e3", "a text like null": "null", "a text like yes": "yes"}
ABOUT |= {"an empty text": "", "lines": "a\nb: c\n", "other letters": "\N{BANANA}é", "a date": "2020-99-99"}
CONFIG = {"a small number": {"layer_norm_eps": 1e-300}, "a list": {"conv_dim": [8] * 7}}


@pytest.mark.parametrize("what", [*ABOUT, *CONFIG])
def test_a_recipe_reads_back_equal(tmp_path, what):
    about, config = {"data": ABOUT.get(what, "tones")}, TINY | CONFIG.get(what, {})
    recipe = recipe_of(tmp_path / "out", about=about, model={"family": "hubert", "config": config})
    text = recipe_as_yaml(recipe)
    (tmp_path / "recipe.yaml").write_text(text)
    again = load_recipe(tmp_path / "recipe.yaml")
    assert recipe_as_yaml(again) == text
    assert again == recipe
    folder = tmp_path / "out"
    folders.begin(recipe)
    assert folders.is_begun(recipe)
    changed = {"family": "hubert", "config": config | {"layer_norm_eps": 0.5}}
    with pytest.raises(ArtifactError, match="differs"):
        folders.is_begun(recipe_of(folder, about=about, model=changed))


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_number_that_is_not_finite_never_gets_into_a_recipe(tmp_path, value):
    with pytest.raises(RecipeError, match=r"model\.config"):
        recipe_of(tmp_path, model={"family": "hubert", "config": TINY | {"layer_norm_eps": value}})
