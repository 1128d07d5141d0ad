"""Distillation by two processes (gloo) against one with the same global batch: cache, curriculum, heads."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from prune_ssl import DistillationConfig
from prune_ssl.data import CorruptedDataset, Corruption
from tests.support.models import tiny_model
from tests.support.processes import NO_DROPOUT, start
from tests.support.training import Listening, StopAt, Unlabelled, arguments

STEPS, GLOBAL_BATCH = 8, 4


def main(folder, stop_at):
    """Train as one of WORLD_SIZE processes (run by the tests below)."""
    torch.set_num_threads(1)
    torch.manual_seed(3)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    teacher = tiny_model("hubert", "Model", "layer", **NO_DROPOUT)
    student = tiny_model("hubert", "Model", "layer", hidden_size=8, **NO_DROPOUT)
    torch.randn(int(os.environ.get("RANK", "0")))  # ranks draw different heads
    trainer = Listening(
        model=student,
        args=arguments(
            folder,
            max_steps=STEPS,
            per_device_train_batch_size=GLOBAL_BATCH // world,
            ddp_backend="gloo" if world > 1 else None,
            seed=5,
            save_strategy="steps",
            save_steps=2,
        ),
        distillation=DistillationConfig(
            losses={"l1": 1.0}, projection="heads", task_weight=0, teacher_cache=folder / "kept"
        ),
        teacher=teacher,
        train_dataset=CorruptedDataset(Unlabelled(12), Corruption(curriculum=0.5)),
        callbacks=[StopAt(stop_at)],
    )
    trainer.train(resume_from_checkpoint=True)
    rank = trainer.args.process_index
    learned = {f"learned.{name}": value for name, value in trainer.distiller.learned.state_dict().items()}
    heard = {"heard": torch.stack(trainer.heard)}
    save_file(
        trainer.accelerator.unwrap_model(trainer.model).state_dict() | learned | heard,
        folder / f"{rank}.safetensors",
    )
    (folder / f"{rank}.json").write_text(json.dumps(trainer.distilled.clips_found))


def launch(folder, world, stop_at=STEPS):
    start(__file__, world, folder, stop_at)
    names = [folder / str(rank) for rank in range(world)]
    return [
        (load_file(name.with_suffix(".safetensors")), json.loads(name.with_suffix(".json").read_text()))
        for name in names
    ]


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_and_resume(tmp_path):
    whole, clips = launch(tmp_path / "one", 1)[0]
    assert clips == 4 * STEPS - 12
    both = launch(tmp_path / "two", 2)
    assert 0 < sum(found for _, found in both) <= 4 * STEPS - 12
    heard = torch.cat([state["heard"] for state, _ in both], 1)
    assert torch.equal(heard, whole["heard"])
    launch(tmp_path / "cut", 2, stop_at=5)
    resumed = launch(tmp_path / "cut", 2)
    for name, value in whole.items():
        if name == "heard":
            continue
        torch.testing.assert_close(both[0][0][name], value, rtol=1e-3, atol=1e-5, msg=name)
        for rank in range(2):
            assert torch.equal(both[rank][0][name], both[0][0][name]), name
            assert torch.equal(resumed[rank][0][name], both[0][0][name]), name
    assert len(list((tmp_path / "two" / "kept").rglob("*.safetensors"))) == 12


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
