"""Two processes (gloo) against one with the same global batch: the same gates, keep and weights."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from prune_ssl import (
    DistillationConfig,
    PruningConfig,
    PruningTrainer,
    load_pretrained,
    save_pretrained,
    trace,
)
from tests.support.models import tiny_model
from tests.support.processes import NO_DROPOUT, start
from tests.support.training import Tones, arguments

STEPS, GLOBAL_BATCH = 10, 4


class DoubleTones(Tones):
    def __getitem__(self, index):
        return self.items[index] | {"input_values": self.items[index]["input_values"].double()}


class Held(TrainerCallback):
    """Sees after every step what part of the weights this process holds."""

    def __init__(self, sharded, stop):
        self.sharded, self.stop, self.steps = sharded, stop, 0

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.steps += 1
        parts = [p._local_tensor.numel() if isinstance(p, DTensor) else p.numel() for p in model.parameters()]
        whole = sum(p.numel() for p in model.parameters())
        assert (sum(parts) < 0.7 * whole) == self.sharded, (sum(parts), whole)
        if self.steps == self.stop:
            os._exit(0)


def shard_on_cpus():
    """Make accelerate, which shards on accelerators only, take these processes for some."""
    plain = PartialState.__init__

    def pretending(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_XPU

    PartialState.__init__ = pretending


def main(folder, accumulate, sharded, stop):
    """Train as one of WORLD_SIZE processes (run by the tests below)."""
    if sharded:
        shard_on_cpus()
    torch.set_num_threads(1)
    torch.manual_seed(3)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    trainer = PruningTrainer(
        model=tiny_model(num_labels=2, **NO_DROPOUT).double(),
        args=arguments(
            folder,
            max_steps=STEPS,
            per_device_train_batch_size=GLOBAL_BATCH // world // accumulate,
            gradient_accumulation_steps=accumulate,
            ddp_backend="gloo" if world > 1 else None,
            seed=5,
            save_strategy="steps",
            save_steps=4,
            **({"fsdp": True} if sharded else {}),
        ),
        pruning=PruningConfig(budget="macs=60%", seconds=1.0, round_to=1, recovery=0.5),
        # What is learned beside the model is to be the same as well.
        distillation=DistillationConfig(losses={"l1": 1.0}, projection="per_layer")
        if accumulate > 1
        else None,
        train_dataset=DoubleTones(16),
        eval_dataset=DoubleTones(4),
    )
    if trainer.distiller is not None:
        trainer.distiller.learned.double()
    trainer.gates.double()  # rounding would decide the sign of an Adam step where a gradient is nearly 0
    assert trainer.args.world_size == world
    assert trainer.is_fsdp_enabled == sharded
    held = Held(sharded, stop)
    trainer.add_callback(held)
    torch.randn(trainer.args.process_index)  # ranks draw differently outside the gates
    trainer.train(resume_from_checkpoint=True)
    if sharded:  # whole again, and still gated
        assert {*map(type, trainer.model.parameters())} == {torch.nn.Parameter}
        assert set(trainer.evaluate()) >= {"eval_loss"}
    gates = trainer.gates.log_alpha.detach().clone()
    small = trainer.finalize()
    rank = trainer.args.process_index
    out = Path(folder) / f"rank-{rank}"
    out.mkdir(parents=True, exist_ok=True)
    (out / "steps.json").write_text(json.dumps(held.steps))
    assert set(trainer.results) == {"dense", "cut", "recovered"}
    (out / "plan.json").write_text(json.dumps(sorted(trainer.plan.keep.items())))
    state = {name: value.detach().clone() for name, value in small.state_dict().items()}
    learned = {} if trainer.distiller is None else trainer.distiller.learned.state_dict()
    beside = {"gates": gates} | {f"learned.{name}": value for name, value in learned.items()}
    save_file(state | beside, out / "model.safetensors")
    if rank == 0:
        save_pretrained(small.float(), Path(folder) / "model", plan=trainer.plan)
    dense = trainer.graph.cost(seconds=1.0).macs
    (out / "macs.json").write_text(json.dumps(trace(small).cost(seconds=1.0).macs / dense))


def launch(folder, world, accumulate=1, sharded=False, stop=0):
    start(__file__, world, folder, accumulate, int(sharded), stop)
    return [] if stop else [read(folder / f"rank-{rank}") for rank in range(world)]


def read(folder):
    plan = json.loads((folder / "plan.json").read_text())
    return plan, load_file(folder / "model.safetensors"), json.loads((folder / "macs.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_make_the_cut_and_the_model_of_one(tmp_path, accumulate):
    ((plan, model, macs),) = launch(tmp_path / "one", 1, accumulate)
    first, second = launch(tmp_path / "two", 2, accumulate)
    assert first[0] == second[0] == plan
    assert first[2] == macs <= 0.6
    for name, value in model.items():
        assert torch.equal(first[1][name], second[1][name])
        assert torch.allclose(first[1][name], value, rtol=1e-6, atol=1e-9), name
    assert float(model["gates"].std()) > 0.1  # they were trained apart
    names = sorted(path.name for path in (tmp_path / "two").iterdir())
    assert names == ["checkpoint-10", "checkpoint-4", "checkpoint-8", "model", "rank-0", "rank-1", "recovery"]


@pytest.mark.slow
def test_a_sharded_run_makes_the_cut_of_one_process_resumes_and_saves_a_model_that_loads(tmp_path):
    ((plan, model, macs),) = launch(tmp_path / "one", 1, 2)
    first, second = launch(tmp_path / "two", 2, 2, sharded=True)
    assert first[0] == second[0] == plan
    assert first[2] == macs <= 0.6
    for name, value in model.items():
        assert torch.equal(first[1][name], second[1][name])
        assert torch.allclose(first[1][name], value, rtol=1e-6, atol=1e-9), name
    loaded = load_pretrained(tmp_path / "two" / "model").state_dict()
    assert loaded.keys() == {name for name in model if name != "gates" and not name.startswith("learned.")}
    assert any(name.startswith("learned.") for name in model)
    assert all(torch.equal(value, first[1][name].float()) for name, value in loaded.items())

    # On from the last checkpoint of gate training, and then from that of recovery.
    again = tmp_path / "again"
    for stop, trained in ((9, None), (0, STEPS - 8), (0, 0)):
        ends = launch(again, 2, 2, sharded=True, stop=stop)
        assert stop or json.loads((again / "rank-0" / "steps.json").read_text()) == trained
        for plan, weights, _ in ends:
            assert plan == first[0]
            assert all(torch.equal(value, first[1][name]) for name, value in weights.items())
        shutil.rmtree(again / "model", ignore_errors=True)


@pytest.mark.slow
def test_prune_ssl_run_under_torchrun_leaves_what_one_process_leaves(recipe, tmp_path):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
    }
    for world, launcher in (
        (1, []),
        (2, ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]),
    ):
        changes = [f"output={tmp_path / str(world)}", f"batch_size={4 // world}", "data.augment=false"]
        ended = subprocess.run(
            [sys.executable, *launcher, "-m", "prune_ssl", "run", str(recipe), *changes],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert ended.returncode == 0, ended.stderr[-3000:]
        assert ended.stdout.count("report: ") == 1  # one process speaks
    one, two = (sorted(p.name for p in (tmp_path / world).iterdir()) for world in ("1", "2"))
    assert one == two
    reports = [json.loads((tmp_path / world / "report.json").read_text()) for world in ("1", "2")]
    assert reports[0]["model"]["sections"] == reports[1]["model"]["sections"]
    small = load_pretrained(tmp_path / "2" / "model")
    assert (
        trace(small).cost(seconds=1.0).macs
        <= 0.7 * trace(load_pretrained(tmp_path / "2" / "dense")).cost(seconds=1.0).macs
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1", int(sys.argv[4]))
