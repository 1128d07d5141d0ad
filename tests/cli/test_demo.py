"""The command `demo`: which recipe it runs, on which files, and where the result goes."""

from pathlib import Path

import pytest

from prune_ssl.cli import demo
from tests.support.cli import run_cli


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    calls: list[object] = []
    monkeypatch.setattr(
        "prune_ssl.pipeline.run", lambda recipe, overwrite, say: calls.append((recipe, overwrite))
    )
    monkeypatch.setattr(demo, "show", lambda outcome: None)
    return calls


@pytest.mark.parametrize("name", ["out", "with {name} and {", "it's: #1"])
def test_it_runs_the_recipe_of_the_package_into_any_folder(asked, tmp_path: Path, name: str) -> None:
    result = run_cli("demo", "--out", tmp_path / name, "--budget", "params=40%", "--overwrite")
    assert result.exit_code == 0, result.output
    ((recipe, overwrite),) = asked
    assert overwrite is True
    assert recipe.folder == tmp_path / name
    assert recipe.pruning.budget == "params=40%"
    assert Path(recipe.model.name).name == "demo_model"
    assert (Path(recipe.data.path) / "train" / "metadata.csv").is_file()


def test_a_wrong_budget_ends_it_before_anything_runs(asked, tmp_path: Path) -> None:
    result = run_cli("demo", "--out", tmp_path / "out", "--budget", "half")
    assert result.exit_code == 2
    assert asked == []
