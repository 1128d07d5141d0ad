"""The command `sweep`."""

from tests.support.cli import run_cli


def test_a_sweep_takes_method_and_budgets_from_the_recipe(recipe, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("prune_ssl.sweeping.sweep", lambda recipe, cells, *_: asked.append(cells) or [])
    progressive = ("pruning.budgets=[80%, 60%]", "pruning.budget=macs=60%")
    assert run_cli("sweep", recipe, *progressive, "--out", tmp_path).exit_code == 0
    cuts = ("pruning.method=iterative", "pruning.criterion=taylor")
    assert run_cli("sweep", recipe, *cuts, "--out", tmp_path).exit_code == 0
    assert [(cell.budget, cell.method) for cell in asked[0]] == [("macs=80%", "gates"), ("macs=60%", "gates")]
    assert [cell.method for cell in asked[1]] == ["iterative/taylor"]
