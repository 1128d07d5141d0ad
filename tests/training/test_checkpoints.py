"""Checkpoints: only whole ones are resumed from, and what is damaged is named in one error."""

import json
import shutil

import pytest
import torch

from prune_ssl import DistillationTrainer
from prune_ssl.errors import ArtifactError, PruneError
from prune_ssl.selection import parse_budget
from prune_ssl.training.checkpoints import load_fit
from prune_ssl.training.manifest import MANIFEST_FILE, damage, write_manifest
from prune_ssl.training.phases import LATENCY_FILE
from prune_ssl.training.rounds import CUT_FILE
from tests.support.harms import FILES, binary, empty, truncated
from tests.support.models import checksum
from tests.support.stopping import CONFIGS, StopAt, Stopped, finish, make, stop, stop_later


def test_a_run_ends_the_same_from_the_checkpoint_before_a_damaged_one(killed, folder):
    truncated(folder / "checkpoint-9" / "gates.safetensors")
    with pytest.warns(UserWarning, match="going on|goes on"):
        small, plan = finish(make(folder), resume=True)
    assert (checksum(small), plan) == killed[1]


@pytest.mark.parametrize("name", FILES[1:])
@pytest.mark.parametrize("harm", [truncated, empty, binary])
def test_a_file_that_cannot_be_read_is_one_error_that_names_it(folder, name, harm):
    """What is listed as whole, and is not: files too large to be hashed, or written wrongly."""
    shutil.rmtree(folder / "checkpoint-6")
    harm(folder / "checkpoint-9" / name)
    (folder / "checkpoint-9" / MANIFEST_FILE).unlink()
    write_manifest(folder / "checkpoint-9")
    assert damage(folder / "checkpoint-9") is None
    trainer = make(folder)
    trainer.add_callback(StopAt(10, stop))  # it must not come to that
    with pytest.raises(PruneError, match=r"checkpoint-9") as caught:
        trainer.train(resume_from_checkpoint=True)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 900


@pytest.mark.parametrize(
    "text", ["{}", "[]", "5", '{"gates": 1}', '{"gates": {}, "results": {}, "history": []}']
)
def test_another_content_of_the_progress_is_one_error(folder, text):
    (folder / "checkpoint-9" / "pruning.json").write_text(text)
    trainer = make(folder)
    with pytest.raises(ArtifactError, match=r"cannot resume: .*(pruning\.json|gates\.safetensors)"):
        trainer.load_parts(folder / "checkpoint-9")


@pytest.mark.parametrize("harm", [truncated, empty, binary])
def test_a_damaged_cut_is_one_error_that_names_it(tmp_path, monkeypatch, harm):
    with monkeypatch.context() as patch:
        stop_later(patch, "round-1", 1, stop)
        with pytest.raises(Stopped):
            finish(make(tmp_path, CONFIGS["one_shot"]))
    harm(tmp_path / CUT_FILE)
    with pytest.raises(ArtifactError, match=rf"cannot resume: \S+{CUT_FILE}: .* delete \S+{CUT_FILE}"):
        make(tmp_path, CONFIGS["one_shot"]).train(resume_from_checkpoint=True)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", "{}", '{"tables": ["x"], "share": 1}', '{"tables": [null]}']
)
def test_damaged_latencies_are_one_error_that_names_them(tmp_path, text):
    (tmp_path / LATENCY_FILE).write_text(text)
    with pytest.raises(ArtifactError, match=rf"cannot resume: \S+{LATENCY_FILE}"):
        load_fit(tmp_path / LATENCY_FILE, parse_budget("latency=60%"))


def test_the_best_model_is_found_where_its_checkpoint_is(tmp_path):
    """Trainer looks for it in the temporary folder."""
    plain = make(tmp_path / "unused")
    trainer = DistillationTrainer(
        model=plain.model,
        args=type(plain.args)(
            output_dir=str(tmp_path / "run"),
            max_steps=6,
            save_steps=2,
            eval_steps=2,
            eval_strategy="steps",
            save_strategy="steps",
            save_total_limit=1,
            load_best_model_at_end=True,
            learning_rate=0.05,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=plain.train_dataset,
        eval_dataset=plain.eval_dataset,
    )
    plain.gates.detach()
    trainer.train()
    best = tmp_path / "run" / f"checkpoint-{trainer.state.best_global_step}"
    assert trainer.state.best_model_checkpoint == str(best)
    newest = max((tmp_path / "run").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    assert json.loads((newest / "trainer_state.json").read_text())["best_model_checkpoint"] == str(best)
    losses = {
        entry["step"]: entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry
    }
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses.values()))


def test_an_error_of_the_disk_in_a_checkpoint_names_the_checkpoint(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(ArtifactError, match=r"checkpoint-3 cannot be written"):
        make(tmp_path).train()
    assert [path.name for path in tmp_path.rglob("*") if "checkpoint" in path.name] == []
