"""The table of runtimes: the device, the packages and the way of measuring of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Literal

from prune_ssl.errors import BudgetError

INT8, BFLOAT16 = "int8", "bfloat16"
FORMS = (INT8, BFLOAT16)
"""The forms of a model that stays in PyTorch."""
DYNAMIC, STATIC = "dynamic", "static"
"""The kinds of integers in an ONNX graph."""
ONNX_PACKAGES, OPENVINO_PACKAGES = ("onnx", "onnxscript", "onnxruntime"), ("openvino",)

Parts = Literal["within", "alone", "eager"]
"""How the time of one part is measured: by timers within the whole model; as a graph of its own, because a
graph of the whole model has no place for timers; or as in eager PyTorch, scaled to the whole model's time."""


@dataclass(frozen=True)
class Runtime:
    """One way to run a model: PyTorch in one of its forms, or a program that opens an exported file."""

    name: str
    about: str
    """One line for help texts and pages."""
    devices: tuple[str, ...] = ("cpu",)
    """The devices on which it runs here, the usual one first."""
    packages: tuple[str, ...] = ()
    """The packages that it needs beside PyTorch."""
    extra: str = ""
    """The extra of prune_ssl that installs the packages."""
    graph: str = ""
    """The kind of file that it opens: onnx or openvino. Empty: it stays in PyTorch."""
    form: str = ""
    """int8 or bfloat16. Empty: float32."""
    parts: Parts = "within"


RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        Runtime("eager", "PyTorch as it is, in float32", ("cpu", "cuda")),
        Runtime("bfloat16", "PyTorch, all of it in bfloat16", ("cpu", "cuda"), form=BFLOAT16),
        Runtime("compile", "torch.compile, in float32", ("cpu", "cuda"), parts="eager"),
        Runtime("torch-int8", "PyTorch with Linear layers in 8-bit integers (quantize_)", form=INT8),
        Runtime("onnx", "ONNX Runtime, in float32", ("cpu",), ONNX_PACKAGES, "onnx", "onnx", parts="alone"),
        Runtime(
            "onnx-int8",
            "ONNX Runtime with matrix products in 8-bit integers (dynamic)",
            ("cpu",),
            ONNX_PACKAGES,
            "onnx",
            "onnx",
            INT8,
            "alone",
        ),
        Runtime(
            "openvino",
            "OpenVINO as it comes: in bfloat16 if the processor computes in it, else in float32",
            ("cpu",),
            OPENVINO_PACKAGES,
            "openvino",
            "openvino",
            parts="alone",
        ),
        Runtime("cuda-graphs", "a captured CUDA graph of PyTorch's kernels", ("cuda",), parts="alone"),
    )
}
EAGER = "eager"
EXPORTED = tuple(name for name, runtime in RUNTIMES.items() if runtime.graph)
"""The runtimes that open an exported file. A budget of memory may name one of them."""


def runtime_named(name: str) -> Runtime:
    """Return the runtime with this name.

    Raises:
        BudgetError: there is no such runtime. The message names the nearest.

    >>> runtime_named("onnx-int8").extra
    'onnx'
    """
    if name in RUNTIMES:
        return RUNTIMES[name]
    near = get_close_matches(str(name).lower(), RUNTIMES, 1, 0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise BudgetError(f"runtime: found {name!r:.40}; {hint}wanted one of {', '.join(RUNTIMES)}.")


def require_runtime(name: str) -> Runtime:
    """Return the runtime with this name, whose packages are installed.

    Raises:
        BudgetError: there is no such runtime, or a package that it needs is not installed. The message has
            the line that installs it.
    """
    runtime = runtime_named(name)
    missing = missing_packages(runtime.packages)
    if missing:
        raise BudgetError(
            f"runtime {name} needs {', '.join(missing)}, which this environment lacks: "
            f"{pip_line(runtime.extra)}."
        )
    return runtime


def missing_packages(packages: Sequence[str]) -> list[str]:
    """Return the packages that are not installed."""
    return [package for package in packages if find_spec(package) is None]


def pip_line(extra: str) -> str:
    """Return the command that installs an extra.

    >>> pip_line("onnx")
    "pip install 'prune_ssl[onnx]'"
    """
    return f"pip install 'prune_ssl[{extra}]'"
