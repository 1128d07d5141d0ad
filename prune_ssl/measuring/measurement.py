"""The whole measurement of a model: parameters, MACs, latency, size, peak memory and environment."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from prune_ssl.errors import ArtifactError
from prune_ssl.fields_in_help import with_fields
from prune_ssl.measuring.environment import describe_environment
from prune_ssl.measuring.memory import PEAK_MEMORY_SCOPE, peak_memory_bytes
from prune_ssl.models.int8_linear import Int8Linear
from prune_ssl.models.origin import written_dtypes
from prune_ssl.models.seals import ALIGNMENT, LENGTH_BYTES, SEAL_LENGTH, marks
from prune_ssl.models.weights import DTYPES
from prune_ssl.profiling.timing import Latency, Timing, measure_interleaved
from prune_ssl.tracing import Source, Traced


@with_fields
@dataclass(frozen=True)
class Measurement:
    """The costs of one model at batch 1. FLOPs are 2 x MACs. `measure` makes it."""

    params: int
    """Number of parameters."""
    macs: dict[float, int]
    """MACs at each audio length in seconds: multiply-adds of convolutions, linear layers and attention
    products."""
    latency: list[Latency] = field(default_factory=list)
    """One entry for each audio length and thread count."""
    size_bytes: int | None = None
    """Bytes of the weights as safetensors."""
    peak_memory_bytes: int | None = None
    """Peak memory of one forward pass on the longest audio. `environment["peak_memory"]` says what counts."""
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    """The machine, the versions, and the model's dtype and device."""

    def latency_at(self, seconds: float, threads: int) -> Latency | None:
        """Return the latency at this audio length and thread count, or None if it was not measured."""
        found = (
            latency for latency in self.latency if (latency.seconds, latency.threads) == (seconds, threads)
        )
        return next(found, None)


def measure(
    model: Source,
    seconds: float | Sequence[float] | None = None,
    *,
    timing: Timing | None = None,
    with_latency: bool = True,
    folder: str | Path | None = None,
) -> Measurement:
    """Measure one model: parameters, MACs, latency, size on disk and peak memory. The model stays unchanged.

    To compare models use `measure_side_by_side`. Two calls of `measure` would also compare two states of the
    machine, such as its temperature.

    Args:
        model: Any model that `trace` takes, dense or pruned, its folder or hub name, or a `Traced`. Its first
            argument is a waveform, shape (B, N).
        seconds: Audio length or lengths for MACs and latency. None: those of `timing`.
        timing: Thread counts and the number of calls. None: the defaults of `Timing`.
        with_latency: Whether to run forward passes. Without them latency and peak memory stay empty.
        folder: The folder where the model was saved, to read its size there. None: the size is computed.

    Raises:
        ModelError: `trace` does not know the model, or its forward pass fails.
        MeasuringError: a length or a number of calls is out of range.
        ArtifactError: `folder` holds no safetensors file.

    >>> from transformers import HubertConfig, HubertModel
    >>> config = HubertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> measured = measure(HubertModel(config), seconds=1.0, with_latency=False)
    >>> measured.params, measured.macs
    (4213352, {1.0: 2450767136})
    """
    measured = measure_side_by_side(
        {"model": Traced.of(model, "measure")},
        Timing.of(timing, seconds),
        with_latency=with_latency,
        folders={} if folder is None else {"model": folder},
    )
    return measured["model"]


def measure_side_by_side(
    models: Mapping[str, Traced[nn.Module]],
    timing: Timing | None = None,
    *,
    with_latency: bool = True,
    folders: Mapping[str, str | Path] | None = None,
    macs_seconds: Sequence[float] = (),
) -> dict[str, Measurement]:
    """Measure several models as `measure` does, and time them in turns.

    Args:
        models: The models with their graphs, by name. The result has the same names.
        timing: Audio lengths, thread counts and the number of calls. None: the defaults of `Timing`.
        with_latency: Whether to run forward passes.
        folders: The folders where models were saved, by name.
        macs_seconds: More audio lengths at which MACs are counted but nothing is timed.

    Raises:
        ModelError: the forward pass of a model fails.
        ArtifactError: a folder holds no safetensors file.
    """
    timing = Timing.of(timing)
    lengths = sorted({*timing.lengths, *map(float, macs_seconds)})
    measured = {name: _count(each, lengths, (folders or {}).get(name)) for name, each in models.items()}
    if not with_latency:
        return measured
    latencies = measure_interleaved({name: each.model for name, each in models.items()}, timing)
    return {
        name: _with_forward_passes(measured[name], each.model, latencies[name], max(timing.lengths))
        for name, each in models.items()
    }


def _count(traced: Traced[nn.Module], lengths: list[float], folder: str | Path | None) -> Measurement:
    """Return the measurement without latency and peak memory, which need forward passes."""
    model = traced.model
    return Measurement(
        params=sum(parameter.numel() for parameter in model.parameters()),
        macs={length: traced.graph.cost(seconds=length).macs for length in lengths},
        size_bytes=measured_size_bytes(model if folder is None else folder),
        environment=describe_environment(model),
    )


def _with_forward_passes(
    counted: Measurement, model: nn.Module, latency: list[Latency], seconds: float
) -> Measurement:
    peak = peak_memory_bytes(model, seconds)
    environment = dict(counted.environment)
    if peak is not None:
        scope = PEAK_MEMORY_SCOPE[next(model.parameters()).device.type]
        environment["peak_memory"] = f"{scope}, {seconds:g} s of audio"
    return replace(counted, latency=latency, peak_memory_bytes=peak, environment=environment)


def measured_size_bytes(source: nn.Module | str | Path) -> int:
    """Return the bytes of a model's weights as safetensors, from its folder or computed from the model.

    Raises:
        ArtifactError: the folder holds no safetensors file.

    >>> measured_size_bytes(nn.Linear(10, 10, bias=False))
    656
    """
    if isinstance(source, nn.Module):
        return _bytes_when_saved(source)
    sizes = [path.stat().st_size for path in sorted(Path(source).glob("*.safetensors"))]
    if not sizes:
        raise ArtifactError(
            f"measuring: no *.safetensors file in {source}: give a folder that save_pretrained wrote, or none"
        )
    return sum(sizes)


def _bytes_when_saved(model: nn.Module) -> int:
    """Return the size of the file that `save_pretrained` would write: a JSON header, then each tensor once.

    Weights that were stored as half floats count as half floats, though the model computes in float32. Those
    of int8 layers count as bytes, though safetensors cannot hold such a model.
    Nothing is written, so that a long run cannot fail because the disk has no space for a copy.
    """
    integers = [path for path, module in model.named_modules() if isinstance(module, Int8Linear)]
    dtypes = written_dtypes(model) | {f"{path}.weight": torch.int8 for path in integers}
    seen, header, end = set[tuple[object, ...]](), dict[str, object](), 0
    header["__metadata__"] = {"format": "pt", **marks("0" * SEAL_LENGTH)}
    codes = {dtype: code for code, dtype in DTYPES.items()}
    state = sorted(model.state_dict().items(), key=lambda each: (-each[1].element_size(), each[0]))
    for name, value in state:
        place = value.untyped_storage().data_ptr() or name  # 0 means no memory, so none that is shared
        where = (place, value.storage_offset(), value.shape, value.stride())
        if where in seen:
            continue
        seen.add(where)
        start, end = end, end + value.numel() * dtypes[name].itemsize
        code = codes.get(dtypes[name], "F32")
        header[name] = {"dtype": code, "shape": list(value.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
    return -(-(LENGTH_BYTES + len(text.encode())) // ALIGNMENT) * ALIGNMENT + end
