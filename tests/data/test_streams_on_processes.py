"""Two processes (gloo) on one stream: each clip is heard once in an epoch, also after rank 1 was killed."""

import json
import os
import signal
import sys
from itertools import chain, islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from prune_ssl.data import Augmentation, SpeechCollator, StreamConfig, StreamedClips
from prune_ssl.training.resumable import ResumableTrainer
from tests.support.models import tiny_model
from tests.support.processes import NO_DROPOUT, start
from tests.support.streams import encoded, parquet, tone
from tests.support.training import quiet_arguments

CLIPS, GLOBAL_BATCH, STEPS = 12, 4, 6


class KillAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step and args.process_index == args.world_size - 1:
            os.kill(os.getpid(), signal.SIGKILL)


def stream(folder):
    config = StreamConfig(path=str(folder / "data"), target="text")
    return StreamedClips(config, lambda text: int(text[1:]), augmentation=Augmentation())


def main(folder, stop):
    """Train as one of WORLD_SIZE processes (run by the test below)."""
    torch.set_num_threads(1)
    torch.manual_seed(3)
    world, rank = (int(os.environ[name]) for name in ("WORLD_SIZE", "RANK"))
    heard, collate = [], SpeechCollator()

    def listening(items):
        heard.append([int(item.pop("labels")) for item in items])
        return collate([item | {"labels": number % 2} for item, number in zip(items, heard[-1], strict=True)])

    arguments = quiet_arguments(
        folder,
        max_steps=STEPS,
        per_device_train_batch_size=GLOBAL_BATCH // world,
        ddp_backend="gloo",
        seed=5,
        remove_unused_columns=False,
    )
    arguments.save_strategy, arguments.save_steps = "steps", 2
    trainer = ResumableTrainer(
        model=tiny_model(num_labels=2, **NO_DROPOUT).double(),
        args=arguments,
        train_dataset=stream(folder.parent),
        data_collator=lambda items: {
            name: value.double() if value.is_floating_point() else value
            for name, value in listening(items).items()
        },
        callbacks=[KillAt(stop)],
    )
    trainer.train(resume_from_checkpoint=True)
    model = trainer.accelerator.unwrap_model(trainer.model)
    save_file(model.state_dict(), folder / f"{rank}.safetensors")
    (folder / f"{rank}.json").write_text(json.dumps(heard))


def ends(folder, world):
    names = [folder / str(rank) for rank in range(world)]
    heard = [json.loads(name.with_suffix(".json").read_text()) for name in names]
    return heard, [load_file(name.with_suffix(".safetensors")) for name in names]


@pytest.mark.slow
def test_two_processes_hear_each_clip_of_a_stream_once_in_an_epoch_and_resume_after_a_kill(tmp_path):
    parquet(tmp_path / "data", [encoded(tone(index, 0.2 + 0.02 * index)) for index in range(CLIPS)])
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    start(__file__, 2, tmp_path / "whole", 0)
    (first, second), whole = ends(tmp_path / "whole", 2)
    # The loader reads a batch ahead.
    together = [one + other for one, other in zip(first, second, strict=True)]
    order = [int(item["labels"]) for item in islice(stream(tmp_path).seeded(5, ""), CLIPS * 2)]
    assert list(chain(*together))[: CLIPS * 2] == order
    assert sorted(order[:CLIPS]) == sorted(order[CLIPS:]) == list(range(CLIPS))
    assert order[:CLIPS] != order[CLIPS:]

    with pytest.raises(AssertionError):
        start(__file__, 2, tmp_path / "killed", 3)
    assert not list((tmp_path / "killed").glob("*.json"))
    start(__file__, 2, tmp_path / "killed", 0)
    _, resumed = ends(tmp_path / "killed", 2)
    for name, value in whole[0].items():
        for other in (whole[1], *resumed):
            assert torch.equal(other[name], value), name


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
