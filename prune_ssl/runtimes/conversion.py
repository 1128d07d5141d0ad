"""Write the graph of a model for a runtime, with the exporters of transformers."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import ModuleType

import torch
from torch import nn
from transformers import PreTrainedModel

from prune_ssl.errors import ExportError
from prune_ssl.runtimes.inputs import dynamic_axes
from prune_ssl.runtimes.whole_numbers import count_in_whole_numbers

OPSET = 18
MOST_INLINE_BYTES = 1_900_000_000
"""A larger ONNX file keeps its weights in a second file, because one protobuf holds 2 GiB at most."""


def _exporters() -> ModuleType:
    # Imported here, because only newer versions of transformers have exporters.
    return import_module("transformers.exporters")


def write_onnx(
    model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str]
) -> None:
    """Write an ONNX graph with dynamic batch and time, with its weights inside if they fit.

    Args:
        model: The model in evaluation mode, in float32.
        inputs: Example inputs of the graph.
        path: The file.
        metadata: Metadata for the file.
    """
    import onnx_ir

    exporters = _exporters()
    config = exporters.OnnxConfig(dynamic_shapes=dynamic_axes(model, inputs), opset_version=OPSET)
    with quiet(model):
        graph = exporters.OnnxExporter().export(model, dict(inputs), config=config).program
    graph.metadata_props.update(metadata)
    size = sum(value.numel() * value.element_size() for value in model.parameters())
    beside = f"{path.name}.data" if size > MOST_INLINE_BYTES else None
    onnx_ir.save(graph, str(path), external_data=beside)


def write_openvino(
    model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str]
) -> None:
    """Write OpenVINO's graph (.xml) and its float32 weights (.bin)."""
    import openvino

    exporters = _exporters()
    config = exporters.OpenVINOConfig(dynamic_shapes=dynamic_axes(model, inputs), stateful=False)
    with quiet(model):
        graph = exporters.OpenVINOExporter().export(model, dict(inputs), config=config).program
    count_in_whole_numbers(graph)
    for name, text in metadata.items():
        graph.set_rt_info(text, ["prune_ssl", name])
    openvino.save_model(graph, str(path), compress_to_fp16=False)


def write_pt2(
    model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str]
) -> None:
    """Write a program for `torch.export.load`, from which AOTInductor, ExecuTorch and others compile."""
    exporters = _exporters()
    config = exporters.DynamoConfig(dynamic_shapes=dynamic_axes(model, inputs))
    with quiet(model):
        program = exporters.DynamoExporter().export(model, dict(inputs), config=config).program
    torch.export.save(program, str(path), extra_files={"prune_ssl.json": json.dumps(dict(metadata))})


class Positional(nn.Module):
    """A model that takes tensors by position and returns its first output, as TorchScript needs it."""

    def __init__(self, model: PreTrainedModel, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Return the model's first output."""
        found: torch.Tensor = self.model(**dict(zip(self.names, tensors, strict=True)), return_dict=False)[0]
        return found


def write_torchscript(
    model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str]
) -> None:
    """Write a traced graph for `torch.jit.load`, for mobile and C++ programs that still use it."""
    wrapped = Positional(model, list(inputs)).eval()
    extra = {"prune_ssl.json": json.dumps(dict(metadata)).encode()}
    with quiet(model), torch.no_grad():
        traced = torch.jit.trace(wrapped, tuple(inputs.values()), check_trace=False)
        torch.jit.save(traced, str(path), _extra_files=extra)


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Export in evaluation mode without the exporters' output, and turn their failures into one line.

    Raises:
        ExportError: the exporter fails.
    """
    training, level = model.training, logging.root.manager.disable
    model.eval()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):  # they print their progress
            warnings.simplefilter("ignore")
            yield
    except ExportError:
        raise
    except Exception as error:  # the exporters have many layers, which raise errors of every kind
        raise ExportError(
            f"{type(model).__name__} cannot be exported to this target: {type(error).__name__}: "
            f"{_first_words(error)[:300]} Try another target."
        ) from error
    finally:
        logging.disable(level)
        model.train(training)


def _first_words(error: Exception) -> str:
    """Return the first line of an error's message. torch.export puts the code of the graph before it."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    said = (line for line in lines if not line[0].isspace() and not line.startswith("def "))
    return next(said, lines[0].strip() if lines else type(error).__name__)


Writer = Callable[[PreTrainedModel, Mapping[str, torch.Tensor], Path, Mapping[str, str]], None]
"""Takes the model, example inputs, the file to write, and its metadata."""

WRITERS: dict[str, Writer] = {
    "onnx": write_onnx,
    "openvino": write_openvino,
    "pt2": write_pt2,
    "torchscript": write_torchscript,
}
"""The writer of each kind of graph."""
