"""The command `report` writes files and replaces none."""

import json

import pytest

from tests.support.cli import run_cli
from tests.support.models import tiny_model


@pytest.mark.slow
def test_report_writes_files_and_does_not_replace_them(tmp_path):
    tiny_model().save_pretrained(tmp_path / "dense")
    command = ["report", tmp_path / "dense", "--seconds", "0.5", "--save", tmp_path / "r.json"]
    assert run_cli(*command).exit_code == 0
    assert json.loads((tmp_path / "r.json").read_text())
    result = run_cli(*command)
    assert result.exit_code == 2
    assert "nothing was written" in result.output
