"""Two processes (gloo) against one with the same global batch: the same gates, keep and weights."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import tiny_model
from safetensors.torch import load_file, save_file
from test_recipes import corpus, recipe  # noqa: F401
from test_training import Tones, arguments

from prune_ssl import PruningConfig, PruningTrainer, load_pretrained, trace

STEPS, GLOBAL_BATCH = 10, 4
NO_DROPOUT = {f"{name}_dropout": 0.0 for name in ("hidden", "activation", "attention", "feat_proj", "final")}


class DoubleTones(Tones):
    def __getitem__(self, index):
        return self.items[index] | {"input_values": self.items[index]["input_values"].double()}


def main(folder, accumulate):
    """Train as one of WORLD_SIZE processes (run by the tests below)."""
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
        ),
        pruning=PruningConfig(budget="macs=60%", seconds=1.0, round_to=1, recovery=0.5),
        train_dataset=DoubleTones(16),
        eval_dataset=DoubleTones(4),
    )
    trainer.gates.double()  # rounding would decide the sign of an Adam step where a gradient is nearly 0
    assert trainer.args.world_size == world
    torch.randn(trainer.args.process_index)  # ranks draw differently outside the gates
    trainer.train()
    gates = trainer.gates.log_alpha.detach().clone()
    small = trainer.finalize()
    rank = trainer.args.process_index
    out = Path(folder) / f"rank-{rank}"
    out.mkdir(parents=True)
    (out / "plan.json").write_text(json.dumps(sorted(trainer.plan.keep.items())))
    state = {name: value.detach().clone() for name, value in small.state_dict().items()}
    save_file(state | {"gates": gates}, out / "model.safetensors")
    dense = trainer.graph.cost(seconds=1.0).macs
    (out / "macs.json").write_text(json.dumps(trace(small).cost(seconds=1.0).macs / dense))


def launch(folder, world, accumulate=1):
    start(__file__, world, folder, accumulate)
    return [read(folder / f"rank-{rank}") for rank in range(world)]


def start(script, world, *arguments):
    """Run a script of the tests in `world` processes that know each other, to their end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
    }
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    ranks = [
        meeting | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if world > 1 else {} for rank in range(world)
    ]
    processes = [
        subprocess.Popen(
            [sys.executable, script, *map(str, arguments)],
            env=os.environ | shared | rank,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ranks
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), outputs[0][-3000:]


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
    assert names == ["checkpoint-10", "checkpoint-4", "checkpoint-8", "rank-0", "rank-1", "recovery"]


@pytest.mark.slow
def test_prune_ssl_run_under_torchrun_leaves_what_one_process_leaves(recipe, tmp_path):  # noqa: F811
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
    }
    for world, launcher in ((1, []), (2, ["-m", "torch.distributed.run", "--nproc-per-node", "2"])):
        changes = [f"output={tmp_path / str(world)}", f"batch_size={4 // world}", "data.augment=false"]
        ended = subprocess.run(
            [sys.executable, *launcher, "-m", "prune_ssl", "run", str(recipe), *changes],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
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
    main(sys.argv[1], int(sys.argv[2]))
