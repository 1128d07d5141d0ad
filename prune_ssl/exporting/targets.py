"""The table of export targets: the file, the allowed difference from PyTorch, and the packages of each."""

from dataclasses import dataclass
from difflib import get_close_matches

from prune_ssl.errors import ExportError
from prune_ssl.runtimes.registry import (
    DYNAMIC,
    ONNX_PACKAGES,
    OPENVINO_PACKAGES,
    STATIC,
    missing_packages,
    pip_line,
)

BEST = "best"
KINDS = (DYNAMIC, STATIC, BEST)
"""How onnx-int8 is made. `best` makes both and keeps the better one by the metric of a corpus."""
EXACT, OF_INT8 = 1e-4, 0.5
"""The largest allowed difference from PyTorch, relative to the output's largest value. Integers change values
by some percent, so their bound only detects broken graphs. The task's metric shows what integers cost."""


@dataclass(frozen=True)
class Target:
    """One kind of file that `export` can write."""

    name: str
    file: str
    """The file that the runtime opens."""
    packages: tuple[str, ...]
    """The packages that writing and checking the file need."""
    extra: str
    """The extra of prune_ssl that installs the packages. Empty: PyTorch is enough."""
    tolerance: float = EXACT
    """The largest allowed difference from PyTorch."""
    takes_mask: bool = True
    """Whether the graph takes an attention mask, if the model was made for one."""
    graph: str = "onnx"
    """The kind of graph in the file: onnx, openvino, pt2 or torchscript."""


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("onnx", "model.onnx", ONNX_PACKAGES, "onnx"),
        Target("onnx-int8", "model.onnx", ONNX_PACKAGES, "onnx", OF_INT8),
        Target("openvino", "openvino_model.xml", OPENVINO_PACKAGES, "openvino", graph="openvino"),
        Target("pt2", "model.pt2", (), "", graph="pt2"),
        Target("torchscript", "model.pt", (), "", graph="torchscript"),
        Target("sherpa-onnx", "model.onnx", ONNX_PACKAGES, "onnx", takes_mask=False),
        Target("onnx-asr", "model.onnx", ONNX_PACKAGES, "onnx", takes_mask=False),
    )
}


def target_named(name: str) -> Target:
    """Return the target with this name.

    Raises:
        ExportError: there is no such target, or a package that it needs is not installed.

    >>> target_named("pt2").file
    'model.pt2'
    """
    if name not in TARGETS:
        near = get_close_matches(str(name), TARGETS, 1, 0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ExportError(f"export target {name!r} is not known; wanted one of {', '.join(TARGETS)}.{hint}")
    target = TARGETS[name]
    missing = missing_packages(target.packages)
    if missing:
        raise ExportError(
            f"export to {name} needs {', '.join(missing)}, which this environment lacks: "
            f"{pip_line(target.extra)}."
        )
    return target
