"""Gates on GPUs of two processes (gloo): equal to the last bit, in whatever order each process sums."""

import multiprocessing
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from torch import nn

from prune_ssl import PruningConfig, attach_gates, trace
from prune_ssl.gating.segments import segment_sum
from prune_ssl.tracing import PruningGraph
from tests.pretended.machine import pretended_machine
from tests.support.models import tiny_model

STEPS, PROCESSES = 300, 2


def in_another_order(values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Sum backwards, as CUDA's atomic additions may."""
    counts = offsets.diff()
    return segment_sum(values.flip(0), torch.cat([offsets[:1], counts.flip(0).cumsum(0)])).flip(0)


def learn(rank: int, folder: Path, model: nn.Module, graph: PruningGraph) -> None:
    """Learn gates of a model on a pretended GPU, with a task of this process; the model is not run."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES)
    order = in_another_order if rank else segment_sum
    with pretended_machine(), patch("prune_ssl.gating.counting.segment_sum", order):
        torch.manual_seed(0)
        gates = attach_gates(
            model.to("cuda"), graph, PruningConfig(budget="macs=50%", steps=STEPS, round_to=1)
        )
        optimizer = torch.optim.AdamW(gates.parameter_groups(), foreach=False)
        stream = torch.Generator().manual_seed(rank)
        worth = torch.rand(len(gates.log_alpha), generator=stream) * 1e-2
        sums = []
        for step in range(STEPS):
            gates.draw(True)
            noise = torch.randn(len(worth), generator=stream) * 1e-3
            loss = -((worth + noise).to("cuda") * gates.current()).sum()
            sums.append(gates.open_counts().detach().cpu())
            (loss + gates.penalty(step)).backward()
            optimizer.step()
            optimizer.zero_grad()
            gates.clamp_()
        found = {
            "log_alpha": gates.log_alpha.detach().cpu(),
            "multipliers": gates.multipliers.detach().cpu(),
            "sums": torch.stack(sums),
            "plan": gates.finalize().keep,
        }
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_that_sum_in_other_orders_learn_the_same_gates(tmp_path: Path) -> None:
    model = tiny_model("wav2vec2", num_hidden_layers=1).train()
    graph, context = trace(model), multiprocessing.get_context("fork")
    processes = [
        context.Process(target=learn, args=(rank, tmp_path, model, graph)) for rank in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(PROCESSES))
    assert not torch.equal(first["sums"], second["sums"]), "the orders differ"
    assert torch.equal(first["log_alpha"], second["log_alpha"])
    assert torch.equal(first["multipliers"], second["multipliers"])
    assert first["plan"] == second["plan"]
