"""The command `report` writes files and replaces none."""

import json

import pytest

from prune_ssl.cli.report import check_rates
from prune_ssl.errors import ModelError
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


def test_the_rate_of_a_recogniser_is_that_of_its_processor(tmp_path):
    for name, file, content in (
        ("a", "preprocessor_config.json", {"sampling_rate": 16_000}),
        ("b", "processor_config.json", {"feature_extractor": {"sampling_rate": 8_000}}),
        ("c", "processor_config.json", []),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(json.dumps(content))
    check_rates(str(tmp_path / "a"), str(tmp_path / "c"))
    with pytest.raises(ModelError, match=r"16000 Hz, .* at 8000 Hz"):
        check_rates(str(tmp_path / "a"), str(tmp_path / "b"))
