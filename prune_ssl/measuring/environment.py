"""The description of a measurement's environment: machine, versions, threads and number type."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn

from prune_ssl.models.transformers_internals import attention_of
from prune_ssl.profiling import cpu_model
from prune_ssl.profiling.machine import usable_cores

_PACKAGES = ("prune_ssl", "transformers")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def describe_environment(model: nn.Module | None = None) -> dict[str, str]:
    """Return the facts needed to judge a time: CPU, OS, versions and threads, and a model's dtype and device.

    Facts that this machine does not report are left out, such as the governor in a virtual machine, or the
    commit outside a checkout.

    >>> "torch" in describe_environment()
    True
    """
    facts: dict[str, str | None] = {
        "cpu": cpu_model(),
        "cores": _cores(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "governor": _read(_GOVERNOR),
        "os": platform.platform(),
        "python": platform.python_version(),
        **{package: _version(package) for package in _PACKAGES},
        "torch": str(torch.__version__),  # includes the build (+cpu, +cu130), which the metadata lacks
        "threads": str(torch.get_num_threads()),
        "commit": _commit(),
    }
    if model is not None:
        facts |= _model_facts(model)
    return {name: value for name, value in facts.items() if value}


def _model_facts(model: nn.Module) -> dict[str, str | None]:
    parameter = next(model.parameters())
    facts: dict[str, str | None] = {
        "dtype": str(parameter.dtype).removeprefix("torch."),
        "device": str(parameter.device),
        "attention": attention_of(getattr(model, "config", None)),
    }
    if parameter.device.type == "cuda":
        facts["accelerator"] = torch.cuda.get_device_name(parameter.device)
        facts["cuda"] = torch.version.cuda
    return facts


def _cores() -> str:
    total, usable = os.cpu_count() or 1, usable_cores()
    return str(total) if usable == total else f"{usable} of {total}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the short commit of the checkout from which prune_ssl is imported, with `-dirty` if it changed.

    Only the folder directly above the package is examined. Otherwise a virtual environment inside another
    repository would give the commit of that repository.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return finished.stdout.strip() or None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
