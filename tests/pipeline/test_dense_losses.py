"""The losses of the dense training outlive it, for the reports of runs and of resumed runs."""

import pytest

from prune_ssl.pipeline import run
from prune_ssl.pipeline.dense_losses import LOSSES_FILE, keep_losses, kept_losses
from prune_ssl.recipes import load_recipe
from prune_ssl.recipes.written import shareable_data


def test_losses_are_kept_in_a_folder(tmp_path):
    assert kept_losses(tmp_path) == []
    keep_losses(tmp_path, [{"step": 1, "loss": 0.5, "learning_rate": 0.1}, {"step": 1, "eval_loss": 2.0}])
    assert kept_losses(tmp_path) == [{"phase": "dense", "step": 1, "loss": 0.5, "learning_rate": 0.1}]
    (tmp_path / LOSSES_FILE).write_text("{")
    assert kept_losses(tmp_path) == []


def test_a_report_tells_how_its_model_was_made(recipe, monkeypatch):
    loaded = load_recipe(recipe, ["pruning.steps=4", "pruning.recovery=0.5", "pruning.initial_keep=0.9"])
    said: list[str] = []
    with monkeypatch.context() as broken:
        broken.setattr("prune_ssl.pipeline.running.hand_over", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(loaded, say=said.append)
    planned = "  preset tuned; learning rate 0.001; gate steps 4; target falls over the first"
    (line,) = [line for line in said if line.startswith(planned)]
    rate = "0.001 * (dense MACs / kept MACs)^0.25"
    assert line.endswith(f"; initial keep 0.9; recovery steps 2; recovery learning rate {rate}")
    data = run(loaded, say=said.append, resume=True).report.data
    assert {phase: [record.step for record in records] for phase, records in data.phases.items()} == {
        "dense": [1, 2],
        "pruning": [1, 2, 3, 4],
        "recovery": [1, 2],
    }
    assert all(record.learning_rate is not None for record in data.history)
    assert "  " + "; ".join(f"{name} {value}" for name, value in data.settings.items()) == line
    assert data.recipe == shareable_data(loaded)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "settings", "phases"),
    [
        (
            ["pruning.method=iterative", "pruning.rounds=2", "pruning.steps=5", "dense=null"],
            {"method": "iterative, by magnitude", "steps after each cut": "2, 3", "recovery steps": "5"},
            ["pruning", "recovery"],
        ),
        (
            ["pruning.budgets=[90%, 80%]", "pruning.steps=6"],
            {"gate steps": "4, 2", "initial keep": "0.95"},
            ["dense", "pruning", "recovery"],
        ),
        (
            [
                "pruning=null",
                "student={layers: 1, steps: 2, learning_rate: 1.0e-3}",
                "distillation={losses: {logits: 1.0}}",
            ],
            {},
            ["dense", "distillation"],
        ),
        (["pruning=null"], {}, ["dense"]),
    ],
)
def test_every_kind_of_run_tells_its_phases(recipe, overrides, settings, phases):
    data = run(load_recipe(recipe, overrides), say=lambda line: None).report.data
    assert settings.items() <= data.settings.items()
    assert list(data.phases) == phases
