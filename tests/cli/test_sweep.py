"""The command `sweep`."""

from tests.support.cli import run_cli


def test_a_dry_run_checks_each_budget_and_method_and_trains_nothing(recipe, tmp_path):
    given = ("--budgets", "80% 60%", "--seeds", "0", "--seeds", "1", "--out", tmp_path / "sweep", "--dry-run")
    result = run_cli("sweep", recipe, *given)
    assert result.exit_code == 0, result.output
    assert result.output.count("Dry run: all checks passed") == 2
    assert "4 trials: gates-macs" in result.output
    assert not (tmp_path / "sweep").exists()
    result = run_cli("sweep", recipe, "--budgets", "80% 1%", "--out", tmp_path / "sweep", "--dry-run")
    assert (result.exit_code, "1%" in result.output) == (2, True)


def test_a_sweep_takes_method_and_budgets_from_the_recipe(recipe, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("prune_ssl.sweeping.sweep", lambda recipe, cells, *_: asked.append(cells) or [])
    progressive = ("pruning.budgets=[80%, 60%]", "pruning.budget=macs=60%")
    assert run_cli("sweep", recipe, *progressive, "--out", tmp_path).exit_code == 0
    cuts = ("pruning.method=iterative", "pruning.criterion=taylor")
    assert run_cli("sweep", recipe, *cuts, "--out", tmp_path).exit_code == 0
    assert [(cell.budget, cell.method) for cell in asked[0]] == [("macs=80%", "gates"), ("macs=60%", "gates")]
    assert [cell.method for cell in asked[1]] == ["iterative/taylor"]


def test_budgets_behind_the_first_are_told_how_to_be_given():
    result = run_cli("sweep", "ks_digits_hj_mac", "--budgets", "50%", "25%")
    assert result.exit_code == 2
    assert '--budgets "50% 25%"' in " ".join(result.output.split())
