"""Compare the outputs of an exported graph and of its model at several lengths and batch sizes."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from prune_ssl.errors import ExportError
from prune_ssl.runtimes.inputs import as_feeds, example
from prune_ssl.runtimes.sessions import Arrays, Session

NEVER = -1e4
"""The bias of a symbol that must never be printed. Its logits do not set the scale of a comparison."""

SECONDS, ROWS = (0.6, 1.37, 3.0), (1, 3)


@dataclass(frozen=True)
class Difference:
    """The difference between a graph's outputs and PyTorch's, relative to each output's largest value."""

    largest: float
    mean: float


def compare(
    model: PreTrainedModel, session: Session, masked: bool, tolerance: float, name: str, shortest: float = 0.0
) -> Difference:
    """Run model and graph on noise of three lengths, with one clip and with three, and compare all outputs.

    TorchScript gives the first output only.

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
        where = f"{rows} x {seconds:g} s"
        for wanted, found in zip(_outputs(model, inputs), _run(session, inputs, name, where), strict=False):
            _require_alike(found, wanted, name, where)
            gaps = _gaps(found, wanted)
            largest = max(largest, float(gaps.max()))
            means.append(float(gaps.mean()))
    if largest > tolerance:
        raise ExportError(
            f"{name}: the graph's output is off by {largest:.1e} of PyTorch's largest value (allowed: "
            f"{tolerance:g}), so it was not kept. Try another target."
        )
    return Difference(largest, sum(means) / len(means))


def _gaps(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the differences relative to the largest value that is not silenced.

    Logits of silenced symbols are a thousand times larger than all others, and hide differences of those.
    """
    floor = NEVER / 2
    scale = float(np.abs(wanted[wanted > floor]).max(initial=0.0)) or 1.0
    gaps: NDArray[np.float32] = np.abs(np.maximum(found, floor) - np.maximum(wanted, floor)) / scale
    return gaps


def _outputs(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> Arrays:
    """Return PyTorch's outputs, such as the logits and the embeddings of an x-vector model."""
    with torch.no_grad():
        found = model(**inputs, return_dict=False)
    return tuple(np.asarray(each.numpy()) for each in found if isinstance(each, torch.Tensor))


def _run(session: Session, inputs: dict[str, torch.Tensor], name: str, where: str) -> Arrays:
    """Return the outputs of the graph.

    Raises:
        ExportError: the graph does not run on these inputs.
    """
    try:
        return session(as_feeds(inputs))
    except Exception as error:  # each runtime raises errors of its own
        words = " ".join(str(error).split())[:200]
        raise ExportError(
            f"{name}: the graph does not run on {where} ({words}), so it was not kept. Try another target."
        ) from error


def _require_alike(found: NDArray[np.float32], wanted: NDArray[np.float32], name: str, where: str) -> None:
    """Refuse an output of another shape, or with a value that is not finite.

    Raises:
        ExportError: it is refused.
    """
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
