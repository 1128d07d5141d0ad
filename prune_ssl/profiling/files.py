"""The bytes of exported files: measured for the dense model, and known for each parameter."""

from torch import nn

from prune_ssl.errors import BudgetError
from prune_ssl.runtimes.opening import size_of, write_graph
from prune_ssl.runtimes.registry import INT8, require_runtime
from prune_ssl.selection.exported import ExportedFile
from prune_ssl.writing import temporary_folder

PER_OUTPUT = 5
"""Bytes of the scale (float32) and of the zero point (uint8) of one output of an integer matrix product."""


def exported_file(model: nn.Module, runtime: str) -> ExportedFile:
    """Export a dense model for a runtime, and return the make-up of its file.

    Raises:
        BudgetError: the runtime opens no file, a package is missing, or the model is not one of transformers.
        ExportError: the model cannot be exported.
    """
    chosen = require_runtime(runtime)
    if not chosen.graph:
        raise BudgetError(f"runtime {runtime} opens no exported file whose bytes could be counted.")
    with temporary_folder() as folder:
        size = size_of(write_graph(model, chosen, folder))
    return ExportedFile(runtime, integer_sizes(model) if chosen.form == INT8 else {}, size)


def integer_sizes(model: nn.Module) -> dict[str, int]:
    """Return the bytes of the numbers of Linear layers whose weights are integers.

    The scale and the zero point of an output count with its bias.

    >>> integer_sizes(nn.Sequential(nn.Linear(2, 3)))
    {'0.weight': 1, '0.bias': 9}
    """
    sizes = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear):
            sizes[f"{path}.weight"] = 1
            if module.bias is not None:
                sizes[f"{path}.bias"] = 4 + PER_OUTPUT
    return sizes
