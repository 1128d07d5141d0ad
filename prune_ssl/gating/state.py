"""GateState: the part of a gates' checkpoint that is no tensor, as plain data."""

from dataclasses import asdict, replace
from typing import Any, TypedDict

import torch

from prune_ssl.gating.distribution import UnitGates
from prune_ssl.gating.lagrangian import Lagrangian
from prune_ssl.gating.learning import Learning
from prune_ssl.selection.latency import LatencyTable


class GateState(TypedDict):
    """Where schedule, measurements and random stream stand, the counts of learning, and the latencies."""

    steps: int
    start: list[float]
    task_pull: float | None
    measured: float | None
    loss_scale: float
    seed: int
    learned: dict[str, Any]
    stream: str
    """The generator's state, in hexadecimal digits."""
    tables: list[str | None]
    """The latency table of each constraint, as its JSON text."""


def state_of(gates: UnitGates, lagrangian: Lagrangian) -> GateState:
    """Return the state of both."""
    return {
        "steps": lagrangian.steps,
        "start": lagrangian.start,
        "task_pull": lagrangian.pull.smoothed,
        "measured": lagrangian.pull.measured,
        "loss_scale": lagrangian.pull.loss_scale,
        "seed": gates.seed,
        "learned": asdict(gates.learned),
        "stream": bytes(gates.stream.get_state().tolist()).hex(),
        "tables": [
            None if constraint.table is None else constraint.table.to_json()
            for constraint in lagrangian.bounds.budget
        ],
    }


def restore_(gates: UnitGates, lagrangian: Lagrangian, state: GateState) -> None:
    """Take up where `state_of` was called.

    Raises:
        BudgetError: the budget cannot be met with those latencies.
    """
    lagrangian.steps, lagrangian.start = int(state["steps"]), list(state["start"])
    pull = lagrangian.pull
    pull.smoothed, pull.measured, pull.loss_scale = state["task_pull"], state["measured"], state["loss_scale"]
    gates.seed, gates.learned = state["seed"], Learning(**state["learned"])
    gates.stream.set_state(torch.tensor(list(bytes.fromhex(state["stream"])), dtype=torch.uint8))
    tables = [None if text is None else LatencyTable.from_json(text) for text in state["tables"]]
    budget = tuple(
        replace(constraint, table=table)
        for constraint, table in zip(lagrangian.bounds.budget, tables, strict=True)
    )
    lagrangian.bounds = lagrangian.bounds.under(budget, gates.graph, lagrangian.config.seconds)
