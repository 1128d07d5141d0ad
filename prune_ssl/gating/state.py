"""GateState: the part of a checkpoint of gates that is no tensor, as plain data."""

from dataclasses import asdict, replace
from typing import TypedDict

import torch

from prune_ssl.gating.distribution import UnitGates
from prune_ssl.gating.lagrangian import Lagrangian
from prune_ssl.gating.learning import Learning
from prune_ssl.selection.latency import LatencyTable


class GateState(TypedDict):
    """The state of schedule, measurements and random stream, the counts of learning, and the latencies."""

    steps: int
    start: list[float]
    task_pull: float | None
    measured: float | None
    loss_scale: float
    seed: int
    learned: dict[str, int]
    stream: str
    """The state of the random generator, in hexadecimal digits."""
    tables: list[str | None]
    """The latency table of each constraint, as its JSON text."""


def state_of(gates: UnitGates, lagrangian: Lagrangian) -> GateState:
    """Return the state of the gates and of their Lagrangian."""
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
    """Set the state that `state_of` returned.

    Raises:
        BudgetError: the budget cannot be met with the latencies in the state.
    """
    lagrangian.steps, lagrangian.start = int(state["steps"]), list(state["start"])
    pull = lagrangian.pull
    pull.smoothed, pull.measured, pull.loss_scale = state["task_pull"], state["measured"], state["loss_scale"]
    gates.seed, gates.learned = state["seed"], Learning(**state["learned"])
    stream = torch.tensor(list(bytes.fromhex(state["stream"])), dtype=torch.uint8)
    if len(stream) == len(gates.stream.get_state()):
        gates.stream.set_state(stream)
    else:  # an older version drew on the GPU, whose stream no CPU can go on with
        gates.stream.manual_seed(gates.seed + gates.learned.drawn)
    tables = [None if text is None else LatencyTable.from_json(text) for text in state["tables"]]
    budget = tuple(
        replace(constraint, table=table)
        for constraint, table in zip(lagrangian.bounds.budget, tables, strict=True)
    )
    lagrangian.bounds = lagrangian.bounds.under(budget, gates.graph, lagrangian.config.seconds)
