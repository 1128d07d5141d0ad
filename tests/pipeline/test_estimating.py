"""prune-ssl run --estimate: a few steps of every phase, and nothing written."""

import re

import pytest

from prune_ssl.pipeline import estimating
from prune_ssl.pipeline.estimating import Estimate, Phase, _duration
from tests.support.cli import run_cli


def test_every_phase_is_timed_and_nothing_is_written(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(estimating, "TIMED", 2)
    result = run_cli("run", recipe, "--estimate")
    assert result.exit_code == 0, result.output
    lines = " ".join(result.output.split())
    assert re.search(r"dense: 2 steps of \d+\.\d\d s", lines)
    assert re.search(r"pruning and recovery: 6 steps of \d+\.\d\d s", lines), "3 and 3"
    assert re.search(r"Estimate: \d+ s of training on this machine", lines)
    assert not (tmp_path / "out").exists()


def test_a_run_takes_the_time_of_all_its_steps():
    phases = (Phase("dense", 10, 2.0, None), Phase("pruning", 100, 0.5, 7))
    assert Estimate(phases, 0).seconds == 70.0


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "7 s"), (300.0, "5 min"), (9000.0, "2.5 h")])
def test_durations_are_read_easily(seconds, text):
    assert _duration(seconds) == text
