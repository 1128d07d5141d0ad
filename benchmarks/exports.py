"""Every runtime for models of one corpus: the task's metric, latency beside dense eager float32, bytes.

    python benchmarks/exports.py --page docs/exports_measured.md \
        --set "Arabic keywords" data/arabic_commands dense=runs/dense "50% of the MACs=runs/50/model" \
        --set "wav2vec2-base, random weights" - dense=arch:wav2vec2-base "50%=arch:wav2vec2-base@50%"

Each --set names a title, a corpus (- for none: latency and bytes only) and models as LABEL=FOLDER, the dense
one first; arch:NAME is random weights of that shape, and @50% cuts it to that share of its MACs. Every row is
timed in turns with the dense model in eager float32, so that ratios hold where times do not. Rows that stand
in the results are not measured again, so that it can be stopped and called again.
"""

import argparse
import copy
import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

import prune_ssl
from prune_ssl.cli.console import quiet_libraries, say
from prune_ssl.errors import PruneError
from prune_ssl.exporting import TARGETS, write_export
from prune_ssl.measuring import build_model
from prune_ssl.measuring.measurement import measured_size_bytes
from prune_ssl.models import load_model
from prune_ssl.pipeline.export_rows import facts_of
from prune_ssl.pipeline.one_by_one import judge_outputs
from prune_ssl.pipeline.shipping import CorpusJudge, ExportData, in_pytorch
from prune_ssl.profiling import Timing
from prune_ssl.profiling.machine import cpu_model
from prune_ssl.profiling.timing import time_calls
from prune_ssl.reporting.formatting import metric_value, points
from prune_ssl.runtimes.inputs import as_feeds, example
from prune_ssl.runtimes.preparing import prepared_copy
from prune_ssl.runtimes.sessions import OPENERS, open_openvino
from prune_ssl.tasks import paired_difference

Row = dict[str, Any]
Call = Callable[[float, int], Callable[[], object]]
"""Maps an audio length and a thread count to a call that is timed."""
SECONDS, THREADS = (1.0, 5.0), (1, 2)
IN_PYTORCH = {"eager float32": None, "eager bfloat16": "bfloat16", "eager int8 (Linear)": "int8"}
FILES = {
    "onnx": ("onnx", "best"),
    "onnx-int8, dynamic": ("onnx-int8", "dynamic"),
    "onnx-int8, static": ("onnx-int8", "static"),
    "openvino, float32": ("openvino", "best"),
    "openvino, as it comes": ("openvino", "best"),
    "pt2": ("pt2", "best"),
    "torchscript": ("torchscript", "best"),
    "sherpa-onnx": ("sherpa-onnx", "best"),
    "onnx-asr": ("onnx-asr", "best"),
}
"""Runtime -> its target, and the kind of integers."""
UNTIMED = Timing(seconds=0.5, threads=1, min_iterations=1, min_seconds=0.0)


@dataclass(frozen=True)
class Subject:
    """One model of a set, ready to be judged and timed."""

    model: nn.Module
    """Float32, on the CPU, in evaluation mode."""
    source: str
    folder: Path
    """The folder of its exports."""
    masked: bool
    """Whether the model takes an attention mask. Eager calls get one as well then."""


def load(source: str) -> nn.Module:
    name, _, share = source.partition("@")
    if not source.startswith("arch:"):
        return prepared_copy(load_model(source))
    torch.manual_seed(0)
    model = build_model(name)
    if share:
        graph = prune_ssl.trace(model)
        model = prune_ssl.resize(model, graph, prune_ssl.select(model, graph, f"macs={share}", round_to=8))
    return prepared_copy(model)


def call_of(model: nn.Module, masked: bool, seconds: float, threads: int) -> Callable[[], object]:
    given = example(model, seconds, 1, masked)
    inputs = {
        name: each.to(model.dtype) if each.is_floating_point() else each for name, each in given.items()
    }
    return partial(in_pytorch(model), inputs)


def file_call(model: nn.Module, opener: Callable[..., Any], file: Path, masked: bool) -> Call:
    def made(seconds: float, threads: int) -> Callable[[], object]:
        return partial(opener(file, threads), as_feeds(example(model, seconds, 1, masked)))

    return made


def in_torch(subject: Subject, judge: CorpusJudge | None, form: str | None) -> tuple[Row, Call]:
    model = copy.deepcopy(subject.model)
    if form is not None:
        prune_ssl.quantize_(model, form)
    row: Row = {"bytes": measured_size_bytes(model)}
    if judge is not None:
        same = form is None
        judging = judge.judging if same else replace(judge.judging, model=model)
        found = judge.pytorch if same else judge_outputs(judging, in_pytorch(model))
        metric = judge.judging.task.spec.metric
        row |= {"metric": metric, "clips": len(judging.clips), "value": found.metrics[metric]}
        row |= {end: found.metrics.get(f"{metric}_{end}") for end in ("low", "high")}
        if not same and found.outcomes is not None and judge.pytorch.outcomes is not None:
            paired = paired_difference(judge.pytorch.outcomes, found.outcomes)
            row |= {"difference": [paired.difference, paired.low, paired.high]}
    return row, partial(call_of, model, subject.masked)


def in_runtime(subject: Subject, judge: CorpusJudge | None, name: str) -> tuple[Row, Call]:
    target, int8 = FILES[name]
    if judge is not None:
        judge.data = replace(judge.data, int8=int8)
    given = subject.model if subject.source.startswith("arch:") else subject.source
    as_it_comes = name == "openvino, as it comes"
    opener = partial(open_openvino, precision="") if as_it_comes else OPENERS[TARGETS[target].graph]
    if as_it_comes:  # the file of the row in float32; its metric is judged there
        folder = subject.folder / "openvino, float32"
        facts = json.loads((folder / "export.json").read_text())
        row: Row = {"bytes": facts["size_bytes"]}
        masked = facts["takes_attention_mask"]
        return row, file_call(subject.model, opener, folder / facts["file"], masked)
    made = write_export(given, subject.folder / name, target, overwrite=True, on_corpus=judge)
    row = {"bytes": made.size_bytes}
    if made.judged is not None:
        shown = facts_of(made, made.judged)
        row |= {key: getattr(shown, key) for key in ("metric", "clips", "value", "low", "high")}
        row |= {"difference": [shown.difference, shown.difference_low, shown.difference_high]}
    masked = json.loads((made.folder / "export.json").read_text())["takes_attention_mask"]
    return row, file_call(subject.model, opener, made.file, masked)


def timed(call: Call, dense: Call, iterations: int) -> list[Row]:
    timing = Timing(min_iterations=iterations, min_seconds=0.0, max_seconds=30.0)
    cells = []
    for seconds in SECONDS:
        for threads in THREADS:
            calls = {"dense": dense(seconds, threads), "this": call(seconds, threads)}
            found = time_calls(calls, seconds, threads, timing)
            cells.append(
                {
                    "seconds": seconds,
                    "threads": threads,
                    "median_ms": found["this"].median_ms,
                    "ratio": (found["dense"].low_ms or 0) / (found["this"].low_ms or 1),
                    "processor_ms": found["this"].processor_ms,
                    "processor_ratio": (found["dense"].processor_ms or 0) / (found["this"].processor_ms or 1),
                    "n": found["this"].n,
                    "unsteady": found["this"].unsteady or found["dense"].unsteady,
                }
            )
    return cells


def measure(given: list[str], out: Path, iterations: int, known: set[tuple[str, ...]]) -> Iterator[Row]:
    title, corpus, *models = given
    dense: nn.Module | None = None
    for label, source in (each.split("=", 1) for each in models):
        runtimes = [name for name in (*IN_PYTORCH, *FILES) if (title, label, name) not in known]
        model = load(source)
        dense = model if dense is None else dense
        if not runtimes:
            continue
        judge, masked = None, getattr(model.config, "feat_extract_norm", "layer") == "layer"
        if corpus != "-":
            judge = CorpusJudge(source, ExportData(corpus=corpus, timing=UNTIMED), say)
            masked = bool(judge.judging.extractor.return_attention_mask)
        subject = Subject(model, source, out / title / label, masked)
        for name in runtimes:
            yield {"set": title, "model": label, "runtime": name} | row_of(
                subject, judge, name, partial(call_of, dense, masked), iterations
            )


def row_of(subject: Subject, judge: CorpusJudge | None, name: str, dense: Call, iterations: int) -> Row:
    if name in ("sherpa-onnx", "onnx-asr") and not find_spec(name.replace("-", "_")):
        return {"refused": f"{name} is not installed"}
    if judge is None and name == "onnx-int8, static":
        return {"refused": "no clips to calibrate with"}
    try:
        if name in IN_PYTORCH:
            row, call = in_torch(subject, judge, IN_PYTORCH[name])
        else:
            row, call = in_runtime(subject, judge, name)
    except PruneError as error:
        return {"refused": str(error)}
    macs = prune_ssl.trace(subject.model).cost(seconds=1.0).macs
    return row | {"macs": macs, "latency": timed(call, dense, iterations)}


def cell(latency: Row) -> str:
    """The wall time of a quiet machine; else the processor time on one thread; else none."""
    if not latency["unsteady"]:
        return f"{latency['median_ms']:.1f} ms, {latency['ratio']:.2f}x"
    if latency["threads"] == 1 and "processor_ms" in latency:
        return f"{latency['processor_ms']:.1f} ms (CPU), {latency['processor_ratio']:.2f}x"
    return "not quiet"


def is_quotable(row: Row) -> bool:
    return all(cell(each) != "not quiet" for each in row.get("latency", []))


def cells_of(row: Row) -> list[str]:
    if "refused" in row:
        reason = row["refused"].partition(". ")[0].replace("|", "/")
        return [
            row["model"],
            row["runtime"],
            f"refused: {reason[:120]}",
            *[""] * (2 + len(SECONDS) * len(THREADS)),
        ]
    metric, change = "", ""
    if "metric" in row:
        name = row["metric"]
        shown = [metric_value(name, row[key]) for key in ("value", "low", "high")]
        metric = f"{name} {shown[0]} ({shown[1]} to {shown[2]})"
        if row.get("difference"):
            change = points(name, row["difference"][0])
            if row["difference"][1] is not None:
                ends = [points(name, each).removesuffix(" points") for each in row["difference"][1:]]
                change += f" ({ends[0]} to {ends[1]})"
    megabytes = f"{row['bytes'] / 1e6:.2f} MB"
    return [row["model"], row["runtime"], metric, change, *map(cell, row["latency"]), megabytes]


PAGE = """# Exports, measured

Made by `python benchmarks/exports.py` (its first lines say how): {cpu}, {system}, torch {torch}, batch 1.
Metrics are those of the test split, one clip at a time, with 95% intervals; "minus eager" is paired with the
same model in eager float32. Latencies are medians of {n} calls; the ratio is against the dense model in eager
float32, timed in turns with the row (low quartiles). "(CPU)": the machine did other work meanwhile, so the
time is that of the processor, which does not change if the process waits for a core. "not quiet": it did
other work, and no time is quoted; `--again` times these rows anew. OpenVINO "as it comes" computes in
bfloat16 where the processor has it; its metric is not judged. A row that is missing has not been
measured yet.

{tables}
"""


def page(rows: list[Row]) -> str:
    header = ["model", "runtime", "metric (95% interval)", "minus eager"]
    header += [f"{seconds:g} s, {threads} thr." for seconds in SECONDS for threads in THREADS] + ["size"]
    tables = []
    for title in dict.fromkeys(row["set"] for row in rows):
        chosen = [row for row in rows if row["set"] == title]
        clips = next((row["clips"] for row in chosen if "clips" in row), None)
        lines = ["| " + " | ".join(each) + " |" for each in (header, *map(cells_of, chosen))]
        lines.insert(1, "|---" * len(header) + "|")
        tables += [f"## {title}", "", *([f"{clips} test clips.", ""] if clips else []), *lines, ""]
    counts = [each["n"] for row in rows for each in row.get("latency", [])]
    n = f"{min(counts)} to {max(counts)}" if counts else "0"
    return (
        PAGE.format(
            cpu=cpu_model(), system=platform.system(), torch=torch.__version__, n=n, tables="\n".join(tables)
        ).rstrip()
        + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", nargs="+", action="append", default=[], metavar="WORD")
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("out/exports"), help="folder of the exported files")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results/exports.jsonl")
    parser.add_argument(
        "--again", action="store_true", help="measures rows again of which a time cannot be quoted"
    )
    parser.add_argument("--page", type=Path, help="writes the tables here")
    args = parser.parse_args()
    quiet_libraries()
    rows = []
    if args.results.exists():
        rows = [json.loads(line) for line in args.results.read_text().splitlines()]
    if args.again:
        rows = [row for row in rows if is_quotable(row)]
    known = {(row["set"], row["model"], row["runtime"]) for row in rows}
    for given in args.set:
        for row in measure(given, args.out, args.iterations, known):
            rows.append(row)
            args.results.write_text("".join(json.dumps(each) + "\n" for each in rows))
            say(" | ".join(cells_of(row)))
    if args.page is not None:
        args.page.write_text(page(rows))


if __name__ == "__main__":
    main()
