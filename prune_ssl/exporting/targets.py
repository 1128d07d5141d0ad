"""The table of export targets: what each writes, how near it must come to PyTorch, what it needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec

from prune_ssl.errors import ExportError

EXACT, OF_INT8 = 1e-4, 0.5
"""Largest difference from PyTorch, of the output's largest value. Integers move values by some percent: their
bound only tells a broken graph from a coarse one; the task's metric tells what they cost."""


@dataclass(frozen=True)
class Target:
    """One kind of file that `export` can write."""

    name: str
    file: str
    """The file that the runtime opens."""
    packages: tuple[str, ...]
    """What must be importable to write and to check it."""
    extra: str
    """The extra of prune_ssl that installs them; "": nothing beyond PyTorch."""
    tolerance: float = EXACT
    takes_mask: bool = True
    """Whether the graph takes an attention mask, where the model was made for one."""


_ONNX = ("onnx", "onnxscript", "onnxruntime")
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("onnx", "model.onnx", _ONNX, "onnx"),
        Target("onnx-int8", "model.onnx", _ONNX, "onnx", OF_INT8),
        Target("openvino", "openvino_model.xml", ("openvino",), "openvino"),
        Target("pt2", "model.pt2", (), ""),
        Target("torchscript", "model.pt", (), ""),
        Target("sherpa-onnx", "model.onnx", _ONNX, "onnx", takes_mask=False),
        Target("onnx-asr", "model.onnx", _ONNX, "onnx", takes_mask=False),
    )
}


def target_named(name: str) -> Target:
    """Return the target of that name.

    Raises:
        ExportError: there is none, or a package that it needs is not installed.
    """
    if name not in TARGETS:
        near = get_close_matches(str(name), TARGETS, 1, 0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ExportError(f"export target {name!r} is not known; wanted one of {', '.join(TARGETS)}.{hint}")
    target = TARGETS[name]
    missing = _missing(target.packages)
    if missing:
        raise ExportError(
            f"export to {name} needs {', '.join(missing)}, not installed here: "
            f"pip install 'prune_ssl[{target.extra}]'."
        )
    return target


def _missing(packages: Sequence[str]) -> list[str]:
    return [package for package in packages if find_spec(package) is None]
