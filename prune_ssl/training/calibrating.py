"""Calibration in a pruning run: its batches, and the order in which its gates start."""

import inspect
from collections.abc import Iterator
from itertools import islice

import torch
from torch import nn
from transformers import set_seed

from prune_ssl.errors import BudgetError
from prune_ssl.gating.config import EQUAL
from prune_ssl.selection.calibration import Batch, LossOf
from prune_ssl.selection.criteria import score_units
from prune_ssl.tracing import PruningGraph
from prune_ssl.training.finite import kept_randomness
from prune_ssl.training.phases import PruningRun
from prune_ssl.training.processes import from_first, summed
from prune_ssl.training.seeded_items import FollowEpoch
from prune_ssl.training.step_clips import require_finite_batch

LABELS = "labels"
CALIBRATION_BATCHES = 8


def calibration_batches(run: PruningRun, model: nn.Module) -> Iterator[Batch]:
    """Yield a few training batches without the inputs that the model's forward does not take.

    The clips do not depend on what was drawn at random before, so that a resumed run finds the same.
    """
    set_seed(run.args.seed)
    known = inspect.signature(model.forward).parameters
    loader = run.trainer.get_train_dataloader()
    run.trainer.remove_callback(FollowEpoch)  # training makes a loader of its own, with a callback of its own
    for batch in islice(loader, CALIBRATION_BATCHES):
        require_finite_batch(batch, run.trainer.train_dataset, "calibration of the cut")
        yield {name: value for name, value in batch.items() if name in known}


def calibrated_scores(
    run: PruningRun, model: nn.Module, graph: PruningGraph, criterion: str
) -> dict[str, torch.Tensor]:
    """Return a score (units,) for every group of a model, by the loss that the run trains with.

    Every process must call this, because the scores are means over the clips of all.

    Raises:
        BudgetError: the criterion does not suit the model.
    """
    batches = list(calibration_batches(run, model))
    return score_units(model, graph, criterion, batches, summed, _loss_of_task(run))


def _loss_of_task(run: PruningRun) -> LossOf | None:
    """Return the `compute_loss_func` of the trainer as a loss of batches. None: the model's own loss."""
    task_loss = run.trainer.compute_loss_func
    if task_loss is None:
        return None

    def loss_of(model: nn.Module, batch: Batch) -> torch.Tensor:
        given = {name: value for name, value in batch.items() if name != LABELS}
        loss: torch.Tensor = task_loss(model(**given), batch.get(LABELS), num_items_in_batch=None)
        return loss

    return loss_of


def order_gates(run: PruningRun) -> str:
    """Let the gates of a run start in the order of a criterion, and return its name.

    Returns:
        The criterion, or `equal` if all gates start alike.

    Raises:
        BudgetError: the config names a criterion that does not suit the model.
    """
    asked = run.config.gate_start
    criterion = asked or ("taylor" if run.config.low_budget else EQUAL)
    if criterion == EQUAL:
        return EQUAL
    run.gates.hold({})
    try:
        with kept_randomness(run.args.device):
            # Every process must read batches, because its data loader waits for the others.
            scores = calibrated_scores(run, run.model, run.graph, criterion)
    except BudgetError:
        if asked is not None:
            raise
        return EQUAL  # a model without a loss of its own
    finally:
        run.gates.hold(None)
    run.gates.start_in_order(from_first(lambda: scores))
    return criterion
