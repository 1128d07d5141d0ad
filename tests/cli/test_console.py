"""What every command shares."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from prune_ssl.cli.app import app

RECIPE = Path(__file__).parents[2] / "recipes" / "ks_digits_hj_mac.yaml"


@pytest.mark.slow
def test_an_error_during_training_stands_on_a_line_of_its_own(tmp_path: Path) -> None:
    overrides = ["smoke=true", f"output={tmp_path / 'out'}", "dense.learning_rate=1e30"]
    result = CliRunner().invoke(app, ["run", str(RECIPE), *overrides])
    assert result.exit_code == 2
    assert "dense:" in result.stderr  # the bar
    (line,) = (line for line in result.stderr.split("\n") if "error: " in line)
    assert line.startswith("error: dense, step")
