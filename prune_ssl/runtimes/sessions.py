"""Open an exported file in its runtime as a function from arrays to arrays."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from prune_ssl.runtimes.inputs import Feeds

Arrays = tuple[NDArray[np.float32], ...]
Session = Callable[[Feeds], Arrays]
"""Maps the inputs of a graph to its outputs, in their order."""


def open_onnx(path: Path, threads: int = 1) -> Session:
    """Open an ONNX file in ONNX Runtime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = {given.name for given in session.get_inputs()}

    def run(feeds: Feeds) -> Arrays:
        found = session.run(None, {name: value for name, value in feeds.items() if name in names})
        return tuple(map(np.asarray, found))

    return run


def open_openvino(path: Path, threads: int = 1, precision: str = "f32") -> Session:
    """Open an OpenVINO graph on the CPU.

    Args:
        path: The .xml file.
        threads: The number of threads.
        precision: The precision of the arithmetic. With "" OpenVINO uses bfloat16 if the processor supports
            it; "f32" prevents that.
    """
    import openvino

    settings: dict[str, int | str] = {"INFERENCE_NUM_THREADS": threads}
    if precision:
        settings["INFERENCE_PRECISION_HINT"] = precision
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)

    def run(feeds: Feeds) -> Arrays:
        found = compiled(feeds)
        return tuple(np.asarray(found[output]) for output in compiled.outputs)

    return run


def open_pt2(path: Path, threads: int = 1) -> Session:
    """Open a torch.export file that this process has written. Its loader unpickles, so trust the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of tensors that view the file's bytes
        module = torch.export.load(str(path)).module()

    def run(feeds: Feeds) -> Arrays:
        with torch.no_grad():
            found = module(**{name: torch.from_numpy(value) for name, value in feeds.items()})
        outputs = [found] if isinstance(found, torch.Tensor) else found.values()
        return tuple(np.asarray(each.numpy()) for each in outputs if isinstance(each, torch.Tensor))

    return run


def open_torchscript(path: Path, threads: int = 1) -> Session:
    """Open a TorchScript file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, but the user asked for it
        module = torch.jit.load(str(path))

    def run(feeds: Feeds) -> Arrays:
        with torch.no_grad():
            return (np.asarray(module(*(torch.from_numpy(value) for value in feeds.values())).numpy()),)

    return run


OPENERS: dict[str, Callable[..., Session]] = {
    "onnx": open_onnx,
    "openvino": open_openvino,
    "pt2": open_pt2,
    "torchscript": open_torchscript,
}
