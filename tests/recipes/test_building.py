"""The build takes the recipes along; an editable install reads them where they are."""

from pathlib import Path

import pytest
from setuptools import Distribution

from prune_ssl.recipes.building import TOP, BuildWithRecipes
from tests.support.paths import RECIPES, ROOT

NAMES = {path.name for path in RECIPES.glob("*.yaml")}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildWithRecipes:
    monkeypatch.chdir(ROOT)
    made = BuildWithRecipes(Distribution({"name": "nothing", "packages": []}))
    made.build_lib = str(tmp_path / "lib")
    made.ensure_finalized()
    return made


def test_recipes_go_into_the_package(command: BuildWithRecipes) -> None:
    command.run()
    built = Path(command.build_lib) / "prune_ssl" / "recipes" / "files"
    assert {path.name for path in built.iterdir()} == NAMES
    for path in built.iterdir():
        assert path.read_bytes() == (RECIPES / path.name).read_bytes()
    assert {Path(each).name for each in command.get_outputs()} == NAMES


def test_an_editable_install_copies_nothing(command: BuildWithRecipes) -> None:
    command.editable_mode = True
    command.run()
    assert not list(Path(command.build_lib).rglob("*.yaml"))
    assert command.get_outputs() == []


def test_an_sdist_needs_them_too(command: BuildWithRecipes) -> None:
    assert TOP == ROOT
    assert {Path(each).name for each in command.get_source_files()} >= NAMES
    assert all((ROOT / each).is_file() for each in command.get_source_files())
