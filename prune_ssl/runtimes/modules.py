"""Open one module of a model in a runtime, with the arguments that it had within the model."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import torch
from torch import nn

from prune_ssl.runtimes.conversion import OPSET, quiet
from prune_ssl.runtimes.inputs import Feeds, as_feeds
from prune_ssl.runtimes.opening import captured, open_file
from prune_ssl.runtimes.quantising import quantise_dynamic
from prune_ssl.runtimes.registry import INT8, Runtime
from prune_ssl.runtimes.sessions import Session
from prune_ssl.writing import temporary_folder

NAME = "tensor_{}"
Shapes = tuple[tuple[dict[int, object], ...], ...]
"""The dynamic axes of each tensor."""


@dataclass(frozen=True)
class Arguments:
    """The arguments of one call of a module."""

    by_position: Sequence[object]
    by_name: Mapping[str, object]

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors among the arguments, by the names that a graph gives them."""
        found = [
            each for each in (*self.by_position, *self.by_name.values()) if isinstance(each, torch.Tensor)
        ]
        return {NAME.format(index): each.detach().clone() for index, each in enumerate(found)}

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the tensors."""
        return tuple(tuple(each.shape) for each in self.tensors.values())


class Alone(nn.Module):
    """A module as a function of the tensors among its arguments. All other arguments are constants."""

    def __init__(self, module: nn.Module, given: Arguments) -> None:
        super().__init__()
        self.module, self.given = module, given

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Return the module's first output."""
        left = list(tensors)

        def filled(value: object) -> object:
            return left.pop(0) if isinstance(value, torch.Tensor) else value

        by_position = [filled(value) for value in self.given.by_position]
        by_name = {name: filled(value) for name, value in self.given.by_name.items()}
        found = self.module(*by_position, **by_name)
        first: torch.Tensor = found if isinstance(found, torch.Tensor) else found[0]
        return first


def open_module(
    module: nn.Module, given: Arguments, runtime: Runtime, threads: int, any_length: bool
) -> Session:
    """Open a module in a runtime that opens exported files.

    Args:
        module: The module in evaluation mode, in float32 on the CPU.
        given: Arguments that the module takes.
        runtime: The runtime.
        threads: The number of threads.
        any_length: Whether the session shall take any length on the last axis of the first tensor.

    Returns:
        A function of the tensors of the arguments, as arrays by name.

    Raises:
        ExportError: the module cannot be exported.
    """
    alone, tensors = Alone(module, given).eval(), given.tensors
    dynamic: dict[int, object] = {2: torch.export.Dim.DYNAMIC} if any_length else {}
    shapes: Shapes = (tuple(dynamic if index == 0 else {} for index in range(len(tensors))),)
    unsaid = redirect_stdout(StringIO())  # the exporter prints its progress
    with temporary_folder() as folder, quiet(alone), unsaid, torch.no_grad():
        write = _write_openvino if runtime.graph == "openvino" else _write_onnx
        return open_file(write(alone, tensors, shapes, folder, runtime), runtime, threads)


def _write_onnx(
    alone: Alone, tensors: Mapping[str, torch.Tensor], shapes: Shapes, folder: Path, runtime: Runtime
) -> Path:
    file = folder / "part.onnx"
    torch.onnx.export(
        alone,
        tuple(tensors.values()),
        str(file),
        input_names=list(tensors),
        dynamo=True,
        dynamic_shapes=shapes,
        opset_version=OPSET,
        external_data=False,
        verbose=False,
    )
    if runtime.form != INT8:
        return file
    quantise_dynamic(file, folder / "int8.onnx")
    return folder / "int8.onnx"


def _write_openvino(
    alone: Alone, tensors: Mapping[str, torch.Tensor], shapes: Shapes, folder: Path, runtime: Runtime
) -> Path:
    import openvino

    program = torch.export.export(alone, tuple(tensors.values()), dynamic_shapes=shapes)
    graph = openvino.convert_model(program)
    for port, name in zip(graph.inputs, tensors, strict=True):
        port.tensor.set_names({name})
    openvino.save_model(graph, str(folder / "part.xml"), compress_to_fp16=False)
    return folder / "part.xml"


def call_of(session: Session, given: Arguments) -> Callable[[], object]:
    """Return a function that runs a session once on the arguments of a module."""
    feeds: Feeds = as_feeds(given.tensors)
    return lambda: session(feeds)


def captured_module(module: nn.Module, given: Arguments) -> Callable[[], object]:
    """Return a function that replays a module on its arguments as a CUDA graph."""
    return captured(lambda: module(*given.by_position, **given.by_name))
