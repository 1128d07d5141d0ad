"""Calibration in a pruning run: its batches, and the order in which its gates start."""

import inspect
from collections.abc import Iterator
from itertools import islice

from torch import nn
from transformers import set_seed

from prune_ssl.errors import BudgetError
from prune_ssl.gating.config import EQUAL
from prune_ssl.selection.calibration import Batch
from prune_ssl.selection.criteria import score_units
from prune_ssl.training.cutting import CALIBRATION_BATCHES
from prune_ssl.training.finite import kept_randomness
from prune_ssl.training.phases import PruningRun
from prune_ssl.training.processes import from_first, summed
from prune_ssl.training.seeded_items import FollowEpoch
from prune_ssl.training.step_clips import require_finite_batch


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
            scores = score_units(run.model, run.graph, criterion, calibration_batches(run, run.model), summed)
    except BudgetError:
        if asked is not None:
            raise
        return EQUAL  # a model without a loss of its own
    finally:
        run.gates.hold(None)
    run.gates.start_in_order(from_first(lambda: scores))
    return criterion
