"""Gates on a model that FSDP2 shards over two processes (gloo) learn what they learn on a whole one."""

import copy
import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from prune_ssl import PruningConfig, attach_gates, trace
from prune_ssl.selection import KINDS
from prune_ssl.tracing import PruningGraph
from tests.support.models import batch, tiny_model
from tests.support.processes import NO_DROPOUT

STEPS, PROCESSES = 3, 2


def learned(model: nn.Module, graph: PruningGraph, sharded: bool) -> torch.Tensor:
    """Return log_alpha after some steps of plain gradient descent on weights and gates."""
    torch.manual_seed(0)
    config = PruningConfig(budget="macs=50%", steps=STEPS, round_to=1, kinds=tuple(KINDS))
    gates = attach_gates(model, graph, config)
    gates.double()
    if sharded:
        mesh = init_device_mesh("cpu", (PROCESSES,))
        for layer in model.get_submodule(graph.backbone).encoder.layers:  # type: ignore[union-attr]
            fully_shard(layer, mesh=mesh)  # type: ignore[arg-type]
        fully_shard(model, mesh=mesh)
    audio = batch(model, 1600)["input_values"].double()
    optimizer = torch.optim.SGD(
        [*model.parameters(), gates.log_alpha, gates.multipliers], lr=0.1, foreach=False
    )
    for step in range(STEPS):
        loss = model(audio, labels=torch.tensor([0, 1])).loss
        (loss + gates.penalty(step)).backward()
        optimizer.step()
        optimizer.zero_grad()
        gates.clamp_()
    return gates.log_alpha.detach()


def learn_sharded(rank: int, folder: Path, model: nn.Module, graph: PruningGraph) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES)
    torch.save(learned(model, graph, sharded=True), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_gates_learn_the_same_on_shards(tmp_path: Path) -> None:
    model = tiny_model("wav2vec2", num_labels=2, **NO_DROPOUT).double().train()
    graph, context = trace(model), multiprocessing.get_context("fork")
    wanted = learned(copy.deepcopy(model), graph, sharded=False)
    processes = [
        context.Process(target=learn_sharded, args=(rank, tmp_path, model, graph))
        for rank in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(PROCESSES))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, wanted, rtol=0, atol=1e-9)
    assert not torch.allclose(wanted, torch.full_like(wanted, float(wanted[0])))
