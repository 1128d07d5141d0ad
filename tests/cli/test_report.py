"""The command `report` writes files and replaces none."""

import json

import pytest

from tests.support.cli import run_cli
from tests.support.models import tiny_model


@pytest.mark.slow
@pytest.mark.usefixtures("few_calls")
def test_report_writes_files_and_does_not_replace_them(tmp_path):
    tiny_model().save_pretrained(tmp_path / "dense")
    command = ["report", tmp_path / "dense", "--seconds", "0.5", "--save", tmp_path / "r.json"]
    assert run_cli(*command).exit_code == 0
    assert json.loads((tmp_path / "r.json").read_text())
    result = run_cli(*command)
    assert result.exit_code == 2
    assert "nothing was written" in result.output


@pytest.mark.usefixtures("few_calls")
def test_several_models_are_compared_side_by_side(tmp_path):
    for name in ("one", "two"):
        tiny_model().save_pretrained(tmp_path / name)
    quick = ("--seconds", "0.2", "--save", tmp_path / "r.html")
    result = run_cli("report", tmp_path / "one", tmp_path / "two", *quick)
    assert result.exit_code == 0, result.output
    assert "two" in result.output
    assert "fewest MACs" in (tmp_path / "r.html").read_text()
    assert "given twice" in run_cli("report", tmp_path / "one", tmp_path / "one").output
