"""What a machine cannot train in, and what transformers refuses, is said before the old run goes."""

from math import inf
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prune_ssl.pipeline.arguments import phase_arguments
from prune_ssl.recipes import load_recipe
from tests.support.cli import run_cli


def test_what_a_machine_cannot_train_in_is_refused_before_the_old_run_is_deleted(
    recipe, tmp_path, without_bfloat16
):
    assert run_cli("run", recipe).exit_code == 0
    before = (tmp_path / "out" / "report.json").read_bytes()
    result = run_cli("run", recipe, "bf16=true", "--overwrite")
    assert result.exit_code == 2
    assert "Set bf16=false, or run it on a GPU that has bfloat16" in " ".join(result.output.split())
    assert (tmp_path / "out" / "report.json").read_bytes() == before


def test_a_dry_run_says_that_this_machine_lacks_bfloat16_and_goes_on(recipe, without_bfloat16):
    result = run_cli("run", recipe, "bf16=true", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "note: this machine cannot run the recipe: tiny: dense-training cannot have these" in result.output
    assert "all checks passed" in result.output
    assert "cannot run it" not in run_cli("run", recipe, "--dry-run").output


def test_settings_that_transformers_refuses_end_a_dry_run_too(recipe, monkeypatch):
    def refuse(**given):
        raise ValueError(f"no {Path(given['output_dir']).name} today")

    monkeypatch.setattr("prune_ssl.pipeline.arguments.SpeechArguments", refuse)
    result = run_cli("run", recipe, "--dry-run", "bf16=true")
    assert result.exit_code == 2
    assert "no dense-training today." in result.output


def test_gradients_that_are_not_clipped_and_warm_ups_of_the_recipe_reach_the_trainer():
    thin = phase_arguments(load_recipe("recipes/maskhubert.yaml", ["bf16=false"]))["student"]
    assert (thin.max_grad_norm, thin.weight_decay) == (inf, 1e-6)
    pruned = phase_arguments(load_recipe("recipes/dphubert.yaml", ["bf16=false"]))["pruning"]
    assert (pruned.max_grad_norm, pruned.warmup_steps) == (10.0, 0.3)
    assert phase_arguments(load_recipe("recipes/ks_digits_hj_mac.yaml"))["pruning"].warmup_steps == 0.1


def test_a_recipe_asks_for_compiled_models_in_every_phase(monkeypatch):
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "no")  # transformers sets it, and leaves it set
    made = phase_arguments(load_recipe("recipes/ks_digits_hj_mac.yaml", ["compile=true"]))
    assert made
    assert all(arguments.torch_compile for arguments in made.values())


def test_workers_reach_every_phase():
    made = phase_arguments(load_recipe("recipes/ks_digits_hj_mac.yaml", ["data.workers=3"]))
    assert {arguments.dataloader_num_workers for arguments in made.values()} == {3}


@pytest.mark.slow
def test_workers_change_no_weight(recipe, tmp_path):
    weights = []
    for workers in (0, 2):
        out = tmp_path / f"workers-{workers}"
        result = run_cli("run", recipe, f"data.workers={workers}", "data.augment=true", f"output={out}")
        assert result.exit_code == 0, result.output
        weights.append(load_file(out / "model" / "model.safetensors"))
    plain, ahead = weights
    assert plain.keys() == ahead.keys()
    assert all(torch.equal(plain[name], ahead[name]) for name in plain)
