"""Cuts by a criterion on two processes (gloo): the same on both, and as on one where sums allow it."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from prune_ssl import PruningConfig, PruningTrainer
from tests.support.models import tiny_model
from tests.support.processes import NO_DROPOUT, start
from tests.support.training import Tones, arguments

STEPS, GLOBAL_BATCH = 4, 4


class DoubleTones(Tones):
    def __getitem__(self, index):
        return self.items[index] | {"input_values": self.items[index]["input_values"].double()}


def main(folder, method):
    """Train as one of WORLD_SIZE processes (run by the tests below)."""
    torch.set_num_threads(1)
    torch.manual_seed(3)
    world, rank = (
        int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", "1"), ("RANK", "0"))
    )
    name, _, criterion = method.partition("/")
    trainer = PruningTrainer(
        model=tiny_model(num_labels=2, **NO_DROPOUT).double(),
        args=arguments(
            folder,
            max_steps=STEPS,
            per_device_train_batch_size=GLOBAL_BATCH // world,
            ddp_backend="gloo" if world > 1 else None,
            seed=5,
            save_strategy="steps",
            save_steps=1,
        ),
        pruning=PruningConfig(
            budget="macs=60%", seconds=1.0, round_to=1, method=name, criterion=criterion, rounds=2
        ),
        train_dataset=DoubleTones(64),
        eval_dataset=DoubleTones(4),
    )
    torch.randn(rank)  # the processes draw differently by themselves
    trainer.train()
    small = trainer.finalize()
    out = Path(folder) / f"rank-{rank}"
    out.mkdir(parents=True, exist_ok=True)
    (out / "plan.json").write_text(json.dumps(sorted(trainer.plan.keep.items())))
    save_file({key: value.clone() for key, value in small.state_dict().items()}, out / "model.safetensors")


def launched(folder, world, method):
    start(__file__, world, folder, method)
    ends = [folder / f"rank-{rank}" for rank in range(world)]
    return [
        (json.loads((end / "plan.json").read_text()), load_file(end / "model.safetensors")) for end in ends
    ]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["iterative/taylor", "one_shot/random", "iterative/activation"])
def test_two_processes_make_one_cut_and_one_model(tmp_path, method):
    first, second = launched(tmp_path / "two", 2, method)
    assert first[0] == second[0]
    assert all(torch.equal(value, second[1][name]) for name, value in first[1].items())
    if method == "iterative/activation":  # its score is a mean over frames, however they are batched
        ((plan, weights),) = launched(tmp_path / "one", 1, method)
        assert first[0] == plan
        assert all(torch.allclose(first[1][name], value, atol=1e-9) for name, value in weights.items())


if __name__ == "__main__":
    main(*sys.argv[1:])
