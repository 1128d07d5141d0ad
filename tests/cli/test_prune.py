"""The command `prune`: it cuts in one shot, and refuses to overwrite or to prune what is pruned."""

import json

import prune_ssl
from tests.support.cli import run_cli
from tests.support.models import tiny_model


def test_prune_cuts_in_one_shot_and_refuses_to_overwrite(tmp_path):
    tiny_model().save_pretrained(tmp_path / "dense")
    command = ["prune", tmp_path / "dense", tmp_path / "small", "--budget", "macs=60%", "--round-to", "1"]
    result = run_cli(*command)
    assert result.exit_code == 0, result.output
    small = prune_ssl.trace(prune_ssl.load_pretrained(tmp_path / "small")).cost()
    assert small.macs <= 0.6 * prune_ssl.trace(tiny_model()).cost().macs
    assert run_cli(*command).exit_code == 2
    result = run_cli("prune", tmp_path / "small", tmp_path / "smaller", "--budget", "macs=60%")
    assert result.exit_code == 2
    assert "--allow-pruned" in result.output


def test_prune_takes_kinds_and_patterns_of_groups(tmp_path):
    tiny_model().save_pretrained(tmp_path / "dense")
    command = ["prune", tmp_path / "dense", tmp_path / "small", "--budget", "macs=80%", "--kinds"]
    refused = run_cli(*command, "ffn,layers")
    assert refused.exit_code == 2
    assert "kinds" in refused.output
    taken = run_cli(*command, "layer,hidden", "--ignore", "layer.0")
    assert taken.exit_code == 0, taken.output
    keep = json.loads((tmp_path / "small" / "pruning_plan.json").read_text())["keep"]
    assert keep
    assert set(keep) <= {"layer.1", "layer.2", "hidden"}


def test_a_criterion_that_needs_clips_leads_to_run(tmp_path):
    result = run_cli("prune", "model", tmp_path / "out", "--budget", "macs=50%", "--criterion", "taylor")
    assert result.exit_code == 2
    words = " ".join(result.output.split())
    assert "prune-ssl run RECIPE pruning.method=one_shot pruning.criterion=taylor" in words
