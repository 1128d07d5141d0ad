"""Open a model in a runtime, as a call that runs it once on noise of one length."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from prune_ssl.errors import BudgetError
from prune_ssl.models.registry import input_shape
from prune_ssl.optimising import fold_
from prune_ssl.runtimes.conversion import WRITERS
from prune_ssl.runtimes.forms import called_linears, change_
from prune_ssl.runtimes.inputs import as_feeds, example
from prune_ssl.runtimes.preparing import made_for_mask, prepared_copy
from prune_ssl.runtimes.quantising import quantise_dynamic
from prune_ssl.runtimes.registry import INT8, Runtime, require_runtime
from prune_ssl.runtimes.sessions import OPENERS, Session
from prune_ssl.writing import remove, temporary_folder

EXAMPLE_SECONDS = 2.0
"""The length of the example inputs with which a graph is written. The graph takes any length."""


@dataclass(frozen=True)
class Opened:
    """A model that is ready in a runtime."""

    call: Callable[[], object]
    """Runs the model once, to completion."""
    size_bytes: int | None = None
    """The size of the exported file. None: the runtime has no file."""


def open_model(
    model: nn.Module,
    runtime: str,
    seconds: float,
    threads: int = 1,
    device: str = "cpu",
    dtype: str = "float32",
) -> Opened:
    """Open a copy of a model in a runtime, with one clip of noise as its input.

    Args:
        model: The model, dense or pruned, in float32. It is not changed.
        runtime: A key of `RUNTIMES`.
        seconds: The length of the clip.
        threads: The number of threads of a runtime outside PyTorch. PyTorch's own count is left as it is.
        device: cpu or cuda.
        dtype: The dtype of a model that stays in PyTorch.

    Raises:
        BudgetError: the runtime is not known or cannot run here, or the model is not one of transformers.
        ExportError: the model cannot be exported.

    >>> from transformers import HubertConfig, HubertModel
    >>> sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 8, "conv_dim": [8] * 7}
    >>> opened = open_model(HubertModel(HubertConfig(num_hidden_layers=1, **sizes)), "bfloat16", 0.1)
    >>> opened.call().last_hidden_state.dtype
    torch.bfloat16
    """
    with temporary_folder() as folder:
        return prepare(model, runtime, folder, device, dtype).opened(seconds, threads)


@dataclass(frozen=True)
class Prepared:
    """A model in the form that a runtime opens."""

    runtime: Runtime
    model: nn.Module
    """The model in PyTorch: in the runtime's form, or as it was exported."""
    file: Path | None = None
    """The exported file. None: the runtime has no file."""

    def opened(self, seconds: float, threads: int) -> Opened:
        """Open the model, with one clip of noise as its input."""
        if self.file is not None:
            whole = as_exportable(self.model, self.runtime)
            feeds = as_feeds(example(whole, seconds, 1, made_for_mask(whole)))
            session = open_file(self.file, self.runtime, threads)
            return Opened(lambda: session(feeds), size_of(self.file))
        first = next(self.model.parameters())
        noise = torch.randn(input_shape(self.model, seconds), generator=torch.Generator().manual_seed(0))
        waveform = noise.to(first.device, torch.float32 if self.runtime.form == INT8 else first.dtype)
        return Opened(call_in_pytorch(self.model, self.runtime, waveform))


def prepare(
    model: nn.Module, runtime: str, folder: Path, device: str = "cpu", dtype: str = "float32"
) -> Prepared:
    """Give a copy of a model the form that a runtime opens.

    Args:
        model: The model, dense or pruned, in float32. It is not changed.
        runtime: A key of `RUNTIMES`.
        folder: The folder for an exported file.
        device: cpu or cuda.
        dtype: The dtype of a model that stays in PyTorch.

    Raises:
        BudgetError: the runtime is not known or cannot run here, or the model is not one of transformers.
        ExportError: the model cannot be exported.
    """
    chosen = require_runtime(runtime)
    require_device(chosen, device)
    if chosen.graph:
        return Prepared(chosen, model, write_graph(model, chosen, folder))
    return Prepared(chosen, in_pytorch(copy.deepcopy(model), chosen, device, dtype))


def require_device(runtime: Runtime, device: str) -> None:
    """Refuse a device on which a runtime does not run, or that this machine lacks.

    Raises:
        BudgetError: it is refused.
    """
    if device not in runtime.devices:
        places = " or ".join(f"@{each}" for each in runtime.devices)
        raise BudgetError(f"runtime {runtime.name} is measured {places} only, not @{device}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise BudgetError("latency@cuda: this machine has no CUDA device: measure on the target machine.")


def as_exportable(model: nn.Module, runtime: Runtime) -> PreTrainedModel:
    """Return the model, if the exporters take it.

    Raises:
        BudgetError: they do not.
    """
    if not isinstance(model, PreTrainedModel):
        raise BudgetError(
            f"runtime {runtime.name}: {type(model).__name__} is not a model of transformers, and the "
            "exporters take no other. Choose a runtime of PyTorch."
        )
    return model


def write_graph(model: nn.Module, runtime: Runtime, folder: Path) -> Path:
    """Write the file of a model for a runtime as `export` does, and return its path.

    Raises:
        BudgetError: the model is not one of transformers.
        ExportError: the model cannot be exported.
    """
    ready = prepared_copy(as_exportable(model, runtime))
    fold_(ready)
    inputs = example(ready, EXAMPLE_SECONDS, 2, made_for_mask(ready))
    suffix = ".xml" if runtime.graph == "openvino" else ".onnx"
    file = folder / f"model{suffix}"
    written = file if runtime.form != INT8 else folder / f"float32{suffix}"
    WRITERS[runtime.graph](ready, inputs, written, {})
    if runtime.form == INT8:
        quantise_dynamic(written, file)
        for each in folder.glob("float32*"):
            remove(each)
    return file


def open_file(file: Path, runtime: Runtime, threads: int) -> Session:
    """Open an exported file in its runtime. OpenVINO chooses its precision itself."""
    own = {"precision": ""} if runtime.graph == "openvino" else {}
    return OPENERS[runtime.graph](file, threads, **own)


def size_of(file: Path) -> int:
    """Return the bytes of an exported file, with a second file of weights if there is one."""
    return sum(each.stat().st_size for each in file.parent.iterdir() if each.name.startswith(file.stem))


def in_pytorch(model: nn.Module, runtime: Runtime, device: str = "cpu", dtype: str = "float32") -> nn.Module:
    """Change a model in place into the form of a runtime of PyTorch, in evaluation mode, and return it."""
    made = model.eval()
    if runtime.form == INT8:
        made.float().cpu()
        waveform = torch.randn(input_shape(made, 1.0), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            change_(made, INT8, called_linears(made, lambda: made(waveform)))
        return made
    return made.to(device, getattr(torch, runtime.form or dtype))


def call_in_pytorch(model: nn.Module, runtime: Runtime, waveform: torch.Tensor) -> Callable[[], object]:
    """Return a function that runs a model of PyTorch once to completion."""
    if runtime.name == "cuda-graphs":
        return captured(lambda: model(waveform))
    run = torch.compile(model, dynamic=False) if runtime.name == "compile" else model
    if waveform.device.type != "cuda":
        return lambda: run(waveform)

    def call() -> None:
        run(waveform)
        torch.cuda.synchronize(waveform.device)

    return call


def captured(run: Callable[[], object]) -> Callable[[], object]:
    """Return a function that replays the kernels of a call as one CUDA graph, to completion."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.inference_mode(), torch.cuda.stream(aside):
        for _ in range(3):  # libraries choose their kernels in the first calls
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        run()

    def replay() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return replay
