"""Owns the side-by-side benchmark of any models: their rows of cost and speed, as a table, JSON and CSV."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from prune_ssl.errors import ArtifactError, ModelError, PruneError
from prune_ssl.exporting import quantize_
from prune_ssl.families.published import ARCHITECTURES
from prune_ssl.measuring.environment import describe_environment
from prune_ssl.measuring.in_runtimes import measure_in_runtimes
from prune_ssl.measuring.measurement import Measurement, measure_side_by_side
from prune_ssl.models import load_model
from prune_ssl.optimising import optimize_for_inference
from prune_ssl.profiling import Latency, Timing, measure_interleaved, speed_up
from prune_ssl.runtimes.registry import EAGER
from prune_ssl.tracing import Traced
from prune_ssl.writing import write_text

ARCH_PREFIX = "arch:"

CAPTION = (
    "Batch 1; ratios to the first model. CPU: processor time of all threads, low quartile. "
    "MACs: multiply-adds of convolutions, linear layers and attention."
)

FULL_WIDTH = 150
"""Columns of a terminal that shows all figures."""
MAIN = ("params", "audio", "threads", "MACs", "median", "RTFx", "speed-up")
"""The figures in a narrower one. A file of `write_rows` always has all of them."""


@dataclass(frozen=True)
class BenchRow:
    """One model at one audio length and thread count, batch 1; with a `problem`, nothing was measured."""

    model: str
    problem: str = ""
    runtime: str = "eager"
    """The runtime, a key of `RUNTIMES`."""
    architecture: str = ""
    params: int | None = None
    size_bytes: int | None = None
    seconds: float | None = None
    threads: int | None = None
    macs: int | None = None
    median_ms: float | None = None
    p10_ms: float | None = None
    p90_ms: float | None = None
    processor_ms: float | None = None
    """Low quartile of the processor time, all threads together."""
    n: int | None = None
    rtf: float | None = None
    """Compute seconds per audio second."""
    rtfx: float | None = None
    """Audio seconds per compute second."""
    macs_ratio: float | None = None
    """MACs of the first model over these."""
    speed_up: float | None = None
    """Time of the first model over this one's (low quartiles); None also where it is not claimed."""
    within_noise: bool | None = None
    """Whether no speed-up is claimed."""
    reason: str = ""
    """Why not."""


def benchmark_models(
    names: Sequence[str],
    timing: Timing | None = None,
    on_cell: Callable[[float, int], None] | None = None,
    allow_pickle: bool = False,
    optimised: bool = True,
    form: str | None = None,
    runtimes: Sequence[str] = (EAGER,),
) -> list[BenchRow]:
    """Measure models side by side, in turns; one that can't be measured gets a row that says why.

    Args:
        names: model folders, hub names, or `arch:` and a key of ARCHITECTURES (random weights of that shape).
        timing: audio lengths, thread counts and the number of calls; None: the usual ones.
        on_cell: called with (seconds, threads) before each combination.
        allow_pickle: whether pytorch_model.bin may be read where a folder has no safetensors.
        optimised: whether all models are timed after `optimize_for_inference`, so that a pruned model's gain
            is that of pruning alone; else they are timed as transformers runs them.
        form: int8 or bfloat16, in which all models are measured (`quantize_`); None: as they were loaded.
        runtimes: keys of `RUNTIMES`, in each of which every model is measured, all in turns.

    Returns:
        Rows by model, runtime, length and thread count; ratios are to the first model that could be
        measured, in the first runtime.
    """
    timing = Timing.of(timing)
    problems: list[BenchRow] = []
    models: dict[str, nn.Module] = {}
    counted: dict[str, Measurement] = {}
    for name in dict.fromkeys(names):
        try:
            model = build_model(name, allow_pickle).eval()
            if form is not None:
                quantize_(model, form)
            counted |= measure_side_by_side({name: Traced.of(model, "bench")}, timing, with_latency=False)
            models[name] = optimize_for_inference(model, inplace=True) if optimised else model
        except PruneError as error:
            problems.append(BenchRow(name, problem=str(error)))
    if not models:
        return problems
    if tuple(runtimes) == (EAGER,):
        timed = {(name, EAGER): found for name, found in measure_interleaved(models, timing, on_cell).items()}
    else:
        timed, more = measure_in_runtimes(models, runtimes, timing, on_cell)
        problems += [BenchRow(name, runtime=runtime, problem=text) for (name, runtime), text in more.items()]
    cells = {
        (name, runtime): [
            _Cell(name, runtime, type(models[name]).__name__, counted[name], latency) for latency in found
        ]
        for (name, runtime), found in timed.items()
    }
    first = next(iter(cells.values()), [])
    return [_row(*pair) for each in cells.values() for pair in zip(each, first, strict=True)] + problems


def build_model(name: str, allow_pickle: bool = False) -> PreTrainedModel:
    """Return a model from a folder, the hub, or `arch:` and an architecture (random weights).

    Args:
        name: the folder, the hub's name, or `arch:` and a key of ARCHITECTURES.
        allow_pickle: whether pytorch_model.bin may be read where a folder has no safetensors.

    Raises:
        ModelError: there is no such architecture, folder or hub model, or its family is not supported.
    """
    if not name.startswith(ARCH_PREFIX):
        return load_model(name, allow_pickle=allow_pickle)
    architecture = name.removeprefix(ARCH_PREFIX)
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"{name}: no such architecture; wanted {ARCH_PREFIX} and one of {', '.join(ARCHITECTURES)}."
        )
    model_type, changes = ARCHITECTURES[architecture]
    model: PreTrainedModel = AutoModel.from_config(AutoConfig.for_model(model_type, **changes))
    return model


class _Cell(NamedTuple):
    """What was found of one model at one audio length and thread count."""

    name: str
    runtime: str
    architecture: str
    counted: Measurement
    latency: Latency

    @property
    def macs(self) -> int:
        return self.counted.macs[self.latency.seconds]


def _row(cell: _Cell, first: _Cell) -> BenchRow:
    """Return the row of a model, whose ratios are to the first one."""
    latency, is_first = cell.latency, cell is first
    speed = speed_up(first.latency, latency)
    return BenchRow(
        model=cell.name,
        runtime=cell.runtime,
        architecture=cell.architecture,
        params=cell.counted.params,
        size_bytes=cell.counted.size_bytes,
        seconds=latency.seconds,
        threads=latency.threads,
        macs=cell.macs,
        median_ms=latency.median_ms,
        p10_ms=latency.p10_ms,
        p90_ms=latency.p90_ms,
        processor_ms=latency.processor_ms,
        n=latency.n,
        rtf=latency.rtf,
        rtfx=latency.rtfx,
        macs_ratio=first.macs / cell.macs,
        speed_up=1.0 if is_first else None if speed.within_noise else speed.ratio,
        within_noise=False if is_first else speed.within_noise,
        reason=latency.unsteady if is_first else speed.reason,
    )


def bench_table(rows: Iterable[BenchRow], width: int = FULL_WIDTH) -> Table:
    """Return rows as a table for the terminal; models that failed are named below it, with their reason.

    Args:
        rows: The rows of `benchmark_models`.
        width: Columns of the terminal. In a narrow one only the main figures are shown.
    """
    table = Table(caption_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", overflow="fold")
    rows = list(rows)
    several = len({row.runtime for row in rows}) > 1
    if several:
        table.add_column("runtime", no_wrap=True)
    main = tuple(name for name in MAIN if name != "params") if several else MAIN  # 80 columns hold no more
    shown = main if width < FULL_WIDTH else tuple(_cells(BenchRow("")))
    for column in shown:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        if not row.problem:
            cells = _cells(row)
            named = (row.model, row.runtime) if several else (row.model,)
            table.add_row(*named, *(cells[column] for column in shown))
    problems = [f"{row.model}: not measured: {row.problem}" for row in rows if row.problem]
    reasons = [
        f"{row.model}, {row.seconds:g} s, {row.threads} thread{'s' * (row.threads != 1)}: {row.reason}"
        for row in rows
        if row.reason
    ]
    table.caption = escape("\n".join([CAPTION, *problems, *reasons]))
    return table


def _cells(row: BenchRow) -> dict[str, str]:
    def number(value: float | None, form: str, scale: float = 1.0) -> str:
        return "-" if value is None else format(value / scale, form)

    times = {"median": row.median_ms, "p10": row.p10_ms, "p90": row.p90_ms, "CPU": row.processor_ms}
    return {
        "params": number(row.params, ".2f", 1e6) + " M",
        "audio": number(row.seconds, "g") + " s",
        "threads": str(row.threads),
        "MACs": number(row.macs, ".3f", 1e9) + " G",
        **{name: number(value, ".2f") + " ms" for name, value in times.items()},
        "n": str(row.n),
        "RTF": number(row.rtf, ".4f"),
        "RTFx": number(row.rtfx, ".1f"),
        "MACs ratio": number(row.macs_ratio, ".2f") + "x",
        "speed-up": "not claimed" if row.within_noise else number(row.speed_up, ".2f") + "x",
    }


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
