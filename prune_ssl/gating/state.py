"""Owns what a checkpoint of gates holds beside their tensors, as plain data."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch

from prune_ssl.gating.learning import Learning
from prune_ssl.selection.latency import LatencyTable

if TYPE_CHECKING:
    from prune_ssl.gating.gates import Gates


def state_of(gates: "Gates") -> dict[str, Any]:
    """Return where schedule, measurements and random stream stand, what was learned, and the latencies."""
    return {
        "steps": gates.steps,
        "start": gates.start,
        "task_pull": gates._task_pull,
        "measured": gates._measured,
        "loss_scale": gates._loss_scale,
        "seed": gates._seed,
        "learned": asdict(gates.learned),
        "stream": bytes(gates._stream().get_state().tolist()).hex(),
        "tables": [
            None if limit.constraint.table is None else limit.constraint.table.to_json()
            for limit in gates.limits
        ],
    }


def restore_(gates: "Gates", state: Any) -> None:
    """Take up where `state_of` was called.

    Raises:
        BudgetError: the budget cannot be met with those latencies.
    """
    gates.steps, gates.start = int(state["steps"]), list(state["start"])
    gates._task_pull, gates._measured = state["task_pull"], state["measured"]
    gates._loss_scale, gates._seed = state["loss_scale"], state["seed"]
    gates.learned = Learning(**state["learned"])
    gates._seen = (gates.learned.drawn, gates.learned.whole)
    gates._stream().set_state(torch.tensor(list(bytes.fromhex(state["stream"])), dtype=torch.uint8))
    gates.constrain(
        tuple(
            replace(limit.constraint, table=None if text is None else LatencyTable.from_json(text))
            for limit, text in zip(gates.limits, state["tables"], strict=True)
        )
    )
