"""Compare the outputs of an exported graph and of its model at several lengths and batch sizes."""

from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from prune_ssl.errors import ExportError
from prune_ssl.runtimes.inputs import as_feeds, example
from prune_ssl.runtimes.sessions import Session

SECONDS, ROWS = (0.6, 1.37, 3.0), (1, 3)


@dataclass(frozen=True)
class Difference:
    """The difference between a graph's output and PyTorch's, relative to PyTorch's largest value."""

    largest: float
    mean: float


def compare(
    model: PreTrainedModel, session: Session, masked: bool, tolerance: float, name: str, shortest: float = 0.0
) -> Difference:
    """Run model and graph on noise of three lengths, with one clip and with three.

    Args:
        model: The model in evaluation mode.
        session: The graph.
        masked: Whether the graph takes an attention mask.
        tolerance: The largest allowed difference.
        name: The name of the target, for the error.
        shortest: The length in seconds of the shortest input that the model takes.

    Raises:
        ExportError: shapes or values differ, or a value is not finite.
    """
    largest, means = 0.0, []
    for seed, (seconds, rows) in enumerate((s, r) for s in SECONDS for r in ROWS):
        inputs = example(model, max(seconds, 1.5 * shortest), rows, masked, seed)
        with torch.no_grad():
            wanted = model(**inputs, return_dict=False)[0].numpy()
        where = f"{rows} x {seconds:g} s"
        try:
            found = session(as_feeds(inputs))[0]
        except Exception as error:  # each runtime raises errors of its own
            words = " ".join(str(error).split())[:200]
            raise ExportError(
                f"{name}: the graph does not run on {where} ({words}), so it was not kept. Try another "
                "target."
            ) from error
        if found.shape != wanted.shape:
            raise ExportError(
                f"{name}: the graph gives the shape {found.shape} and PyTorch {wanted.shape} ({where}), so "
                "it was not kept. Try another target."
            )
        if not np.isfinite(found).all():
            raise ExportError(
                f"{name}: the graph gives values that are not finite ({where}), so it was not kept. Try "
                "another target."
            )
        scale = float(np.abs(wanted).max()) or 1.0
        largest = max(largest, float(np.abs(found - wanted).max()) / scale)
        means.append(float(np.abs(found - wanted).mean()) / scale)
    if largest > tolerance:
        raise ExportError(
            f"{name}: the graph's output is off by {largest:.1e} of PyTorch's largest value (allowed: "
            f"{tolerance:g}), so it was not kept. Try another target."
        )
    return Difference(largest, sum(means) / len(means))
