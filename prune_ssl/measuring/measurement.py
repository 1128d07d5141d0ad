"""Owns the whole measurement of a model: parameters, MACs, latency, size, peak memory, environment."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from prune_ssl.errors import ArtifactError
from prune_ssl.measuring.environment import describe_environment
from prune_ssl.measuring.memory import PEAK_MEMORY_SCOPE, peak_memory_bytes
from prune_ssl.profiling.timing import Latency, Timing, measure_interleaved
from prune_ssl.tracing import Source, Traced


@dataclass(frozen=True)
class Measurement:
    """What one model costs. Batch 1 throughout; FLOPs are 2 x MACs."""

    params: int
    macs: dict[float, int]
    """Audio seconds -> MACs: multiply-adds of convolutions, linear layers and attention products."""
    latency: list[Latency] = field(default_factory=list)
    size_bytes: int | None = None
    """Bytes of the weights as safetensors."""
    peak_memory_bytes: int | None = None
    """Peak of one forward pass on the longest audio; `environment["peak_memory"]` says what it counts."""
    environment: dict[str, str] = field(default_factory=dict)

    def latency_at(self, seconds: float, threads: int) -> Latency | None:
        """Return the latency measured for this audio length and thread count, or None."""
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
    """Measure one model: parameters, MACs, latency, size on disk and peak memory; the model stays as it was.

    To compare models take `measure_side_by_side`: two calls of `measure` also compare how warm the machine
    was.

    Args:
        model: any model that `trace` takes, dense or pruned, its folder or hub name, or a `Traced`; its first
            argument is a waveform, shape (B, N).
        seconds: audio length or lengths for MACs and latency; None: those of `timing`.
        timing: thread counts and the number of calls; None: the usual ones.
        with_latency: False skips every forward pass, so latency and peak memory stay empty.
        folder: where the model was saved, to read its size there; None: it is computed.

    Raises:
        ModelError: `trace` does not know the model, or its forward pass fails.
        MeasuringError: a length or a number of calls is out of range.
        ArtifactError: `folder` holds no safetensors file.
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
    """Measure several models as `measure` does, their latencies in turns.

    Args:
        models: name -> model and its graph; the names key the result.
        timing: audio lengths, thread counts and the number of calls; None: the usual ones.
        with_latency: False skips every forward pass.
        folders: name -> where that model was saved.
        macs_seconds: more audio lengths at which MACs are counted but nothing is timed.

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
    """Return what needs no forward pass."""
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
    """Return the bytes of a model's weights as safetensors: of a saved folder, or as they would be saved.

    Raises:
        ArtifactError: the folder holds no safetensors file.
    """
    if isinstance(source, nn.Module):
        return _bytes_when_saved(source)
    sizes = [path.stat().st_size for path in sorted(Path(source).glob("*.safetensors"))]
    if not sizes:
        raise ArtifactError(
            f"measuring: no *.safetensors file in {source}; wanted a folder that save_pretrained wrote, "
            "give that one or none"
        )
    return sum(sizes)


def _bytes_when_saved(model: nn.Module) -> int:
    """Return the size of the file that safetensors would write: a header in JSON, then each tensor once.

    Nothing is written: a run that has trained for days must not fail for want of a place for a copy.
    """
    seen, header, end = dict[tuple[object, ...], str](), dict[str, object](), 0
    same = dict[str, str]()
    state = sorted(model.state_dict().items(), key=lambda each: (-each[1].element_size(), each[0]))
    for name, value in state:
        place = value.untyped_storage().data_ptr() or name  # 0: no memory, so none that is shared
        where = (place, value.storage_offset(), value.shape, value.stride())
        if where in seen:
            same[name] = seen[where]
            continue
        seen[where] = name
        header[name] = {
            "dtype": "F32",
            "shape": list(value.shape),
            "data_offsets": [end, end + value.nbytes],
        }
        end += value.nbytes
    text = json.dumps(({"__metadata__": same} if same else {}) | header, separators=(",", ":"))
    return 8 + -(-len(text.encode()) // 8) * 8 + end
