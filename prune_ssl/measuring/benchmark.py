"""Owns the side-by-side benchmark of any models: their rows of cost and speed, as a table, JSON and CSV."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from rich.markup import escape
from rich.table import Table
from torch import nn
from transformers import AutoConfig, AutoModel

from prune_ssl.errors import ArtifactError, ModelError, PruneError
from prune_ssl.measuring.environment import describe_environment
from prune_ssl.measuring.measurement import Measurement, measure_side_by_side
from prune_ssl.models import load_model
from prune_ssl.profiling.timing import Latency, measure_interleaved, speed_up
from prune_ssl.writing import write_text

ARCH_PREFIX = "arch:"

CAPTION = (
    "Batch 1; ratios to the first model. MACs: multiply-adds of convolutions, linear layers and attention."
)

_LARGE: dict[str, object] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}
_X_LARGE: dict[str, object] = _LARGE | {
    "hidden_size": 1280,
    "num_hidden_layers": 48,
    "intermediate_size": 5120,
}

ARCHITECTURES: dict[str, tuple[str, dict[str, object]]] = {
    "wav2vec2-base": ("wav2vec2", {}),
    "wav2vec2-large": ("wav2vec2", _LARGE | {"conv_bias": True}),
    "xls-r-300m": ("wav2vec2", _LARGE | {"conv_bias": True}),
    "xls-r-1b": ("wav2vec2", _X_LARGE | {"conv_bias": True}),
    "hubert-base": ("hubert", {}),
    "hubert-large": ("hubert", _LARGE | {"conv_bias": True}),
    "hubert-xlarge": ("hubert", _X_LARGE | {"conv_bias": True}),
    "wavlm-base": ("wavlm", {}),
    "wavlm-large": ("wavlm", _LARGE),
    "data2vec-audio-base": ("data2vec-audio", {}),
    "unispeech-sat-base": ("unispeech-sat", {}),
}
"""Name after `arch:` -> transformers model type, and where its shape departs from that type's defaults."""


@dataclass(frozen=True)
class BenchRow:
    """One model at one audio length and thread count, batch 1; with a `problem`, nothing was measured."""

    model: str
    problem: str = ""
    architecture: str = ""
    params: int | None = None
    size_bytes: int | None = None
    seconds: float | None = None
    threads: int | None = None
    macs: int | None = None
    median_ms: float | None = None
    p10_ms: float | None = None
    p90_ms: float | None = None
    n: int | None = None
    rtf: float | None = None
    """Compute seconds per audio second."""
    rtfx: float | None = None
    """Audio seconds per compute second."""
    macs_ratio: float | None = None
    """MACs of the first model over these."""
    speed_up: float | None = None
    """Median time of the first model over this one's; None also where that is within noise."""
    within_noise: bool | None = None


def benchmark_models(
    names: Sequence[str],
    seconds: Sequence[float] = (1.0, 5.0, 10.0),
    threads: Sequence[int] | None = None,
    *,
    min_iterations: int = 50,
    min_seconds: float = 3.0,
    max_seconds: float | None = 60.0,
    on_cell: Callable[[float, int], None] | None = None,
) -> list[BenchRow]:
    """Measure models side by side, in turns; one that can't be measured gets a row that says why.

    Args:
        names: model folders, hub names, or `arch:` and a key of ARCHITECTURES (random weights of that shape).
        seconds: audio lengths.
        threads: thread counts; None means 1 and torch's present setting.
        min_iterations: timed calls of each model for each length and thread count.
        min_seconds: least time spent in them.
        max_seconds: they stop here even when `min_iterations` was not reached; None: never.
        on_cell: called with (seconds, threads) before each combination.

    Returns:
        Rows by model, length and thread count; ratios are to the first model that could be measured.
    """
    problems: list[BenchRow] = []
    models: dict[str, nn.Module] = {}
    counted: dict[str, Measurement] = {}
    for name in dict.fromkeys(names):
        try:
            models[name] = build_model(name).eval()
            counted |= measure_side_by_side({name: models[name]}, seconds, with_latency=False)
        except PruneError as error:
            models.pop(name, None)
            problems.append(BenchRow(name, problem=str(error)))
    if not models:
        return problems
    timed = measure_interleaved(
        models,
        seconds,
        threads,
        min_iterations=min_iterations,
        min_seconds=min_seconds,
        max_seconds=max_seconds,
        on_cell=on_cell,
    )
    first = next(iter(models))
    rows = [
        _row(name, models[name], counted[name], latency, counted[first], reference)
        for name in models
        for latency, reference in zip(timed[name], timed[first], strict=True)
    ]
    return rows + problems


def build_model(name: str) -> nn.Module:
    """Return a model from a folder, the hub, or `arch:` and an architecture (random weights).

    Raises:
        ModelError: there is no such architecture, folder or hub model, or its family is not supported.
    """
    if not name.startswith(ARCH_PREFIX):
        return load_model(name)
    architecture = name.removeprefix(ARCH_PREFIX)
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"{name}: no such architecture; wanted {ARCH_PREFIX} and one of {', '.join(ARCHITECTURES)}."
        )
    model_type, changes = ARCHITECTURES[architecture]
    model = AutoModel.from_config(AutoConfig.for_model(model_type, **changes))
    assert isinstance(model, nn.Module)
    return model


def _row(
    name: str,
    model: nn.Module,
    counted: Measurement,
    latency: Latency,
    first: Measurement,
    reference: Latency,
) -> BenchRow:
    macs, speed = counted.macs[latency.seconds], speed_up(reference, latency)
    is_first = latency is reference
    return BenchRow(
        model=name,
        architecture=type(model).__name__,
        params=counted.params,
        size_bytes=counted.size_bytes,
        seconds=latency.seconds,
        threads=latency.threads,
        macs=macs,
        median_ms=latency.median_ms,
        p10_ms=latency.p10_ms,
        p90_ms=latency.p90_ms,
        n=latency.n,
        rtf=latency.rtf,
        rtfx=latency.rtfx,
        macs_ratio=first.macs[latency.seconds] / macs,
        speed_up=1.0 if is_first else None if speed.within_noise else speed.ratio,
        within_noise=False if is_first else speed.within_noise,
    )


def bench_table(rows: Iterable[BenchRow]) -> Table:
    """Return rows as a table for the terminal; models that failed are named below it, with their reason."""
    table = Table(caption_justify="left")
    for column in ("model", "params", "audio", "threads", "MACs", "median", "p10", "p90", "n", "RTF", "RTFx"):
        table.add_column(column, justify="left" if column == "model" else "right", overflow="fold")
    table.add_column("MACs ratio", justify="right")
    table.add_column("speed-up", justify="right")
    rows = list(rows)
    for row in rows:
        if not row.problem:
            table.add_row(row.model, *_cells(row))
    problems = [f"{row.model}: not measured: {row.problem}" for row in rows if row.problem]
    table.caption = escape("\n".join([CAPTION, *problems]))
    return table


def _cells(row: BenchRow) -> list[str]:
    def number(value: float | None, form: str, scale: float = 1.0) -> str:
        return "-" if value is None else format(value / scale, form)

    return [
        number(row.params, ".2f", 1e6) + " M",
        number(row.seconds, "g") + " s",
        str(row.threads),
        number(row.macs, ".3f", 1e9) + " G",
        *(number(value, ".2f") + " ms" for value in (row.median_ms, row.p10_ms, row.p90_ms)),
        str(row.n),
        number(row.rtf, ".4f"),
        number(row.rtfx, ".1f"),
        number(row.macs_ratio, ".2f") + "x",
        "within noise" if row.within_noise else number(row.speed_up, ".2f") + "x",
    ]


def write_rows(rows: Sequence[BenchRow], path: str | Path) -> Path:
    """Write rows as `.json` (with the environment) or `.csv`; makes missing folders, replaces the file.

    Raises:
        ArtifactError: any other suffix, or the file cannot be written.
    """
    target = Path(path)
    if target.suffix not in (".json", ".csv"):
        raise ArtifactError(f"{target}: its suffix is {target.suffix!r}; wanted .json or .csv.")
    if target.suffix == ".json":
        content = {"environment": describe_environment(), "rows": [asdict(row) for row in rows]}
        return write_text(target, json.dumps(content, indent=2) + "\n")
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [field.name for field in fields(BenchRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return write_text(target, text.getvalue())
