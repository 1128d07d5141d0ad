"""The picture of the README: accuracy against milliseconds, ours beside the peers.

    python benchmarks/first_picture.py --models OUT/arabic_commands   # times the models, writes the rows
    python benchmarks/first_picture.py  # draws docs/accuracy_time.svg from the rows

OUT is the folder of benchmarks/method_table.py, given once for each OUT. Every model is that of seed 0 on
the Arabic keywords, trained for as many steps as every other. All are timed in turns in one process, on one
thread, and the processor's time counts, because it does not change while other work runs. The accuracies
come from the rows of the method tables (--tables).
"""

import argparse
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure
from methods.plot import STYLE
from methods.torch_pruning_cut import cut_by_torch_pruning

from prune_ssl.measuring import Timing, measure_side_by_side
from prune_ssl.models import load_model
from prune_ssl.tracing import Traced

ROOT = Path(__file__).parent
ROWS = ROOT / "results" / "first_picture.jsonl"
PICTURE = ROOT.parent / "docs" / "accuracy_time.svg"
SECONDS, SEED = 5.0, 0
CUT_SECONDS = 1.0
"""The audio length of the budgets of the study."""
SERIES = {
    "gates": ("prune_ssl, learned gates", "#1f6ab8", "o"),
    "torch_pruning": ("torch-pruning, magnitude", "#b8560f", "s"),
    "one_shot_taylor": ("one-shot Taylor", "#3d7a5c", "^"),
    "one_shot_random": ("units at random", "#5b6573", "v"),
}
TITLE = "Accuracy against time: prune_ssl beside other ways to cut the same model"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, nargs="+", default=[], help="folders OUT/arabic_commands")
    parser.add_argument("--tables", type=Path, nargs="+", default=[ROOT / "results" / "methods.jsonl"])
    args = parser.parse_args()
    if args.models:
        rows = timed(args.models, judged(args.tables))
        ROWS.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    PICTURE.write_text(drawn(found), encoding="utf-8")
    print(f"wrote {PICTURE}")


def judged(tables: Iterable[Path]) -> dict[tuple[str, int], float]:
    """Return the accuracy of each method and budget."""
    lines = (json.loads(line) for table in tables for line in table.read_text(encoding="utf-8").splitlines())
    return {
        (row["method"], row["percent"]): row["value"]
        for row in lines
        if row["study"] == "arabic_commands" and row.get("seed") == SEED
    }


def timed(folders: Sequence[Path], accuracy: dict[tuple[str, int], float]) -> list[dict[str, Any]]:
    """Time all models in turns, and return a row for each."""
    torch.set_num_threads(1)
    (dense,) = (found for each in folders if (found := each / f"dense-s{SEED}" / "run" / "dense").is_dir())
    models = {("dense", 100): loaded(dense)}
    for folder in folders:
        for method, percent in accuracy:
            place = folder / f"{method}-{percent}-s{SEED}" / "run" / "model"
            if method in SERIES and (place / "config.json").is_file():
                models[method, percent] = loaded(place)
    for method, percent in accuracy:
        if method == "torch_pruning":  # its runs keep no model: the same cut is made again
            cut: Any = cut_by_torch_pruning(loaded(dense), percent / 100, CUT_SECONDS)
            cut.set_attn_implementation("sdpa")  # as the others
            models[method, percent] = cut.eval()
    names = {" ".join(map(str, cell)): Traced.of(model, "first picture") for cell, model in models.items()}
    timing = Timing(seconds=SECONDS, threads=1, min_iterations=60, min_seconds=0.0, max_seconds=None)
    measured = measure_side_by_side(names, timing)
    rows = []
    for (method, percent), found in zip(models, measured.values(), strict=True):
        (latency,) = found.latency
        rows.append({
            "method": method, "percent": percent, "accuracy": accuracy[method, percent],
            "macs": found.macs[SECONDS], "params": found.params, "processor_ms": latency.processor_ms,
            "median_ms": latency.median_ms, "low_ms": latency.low_ms, "calls": latency.n, "seconds": SECONDS,
        })  # fmt: skip
    return rows


def loaded(place: Path) -> Any:
    """Return a model for inference."""
    return load_model(str(place)).eval()


def drawn(rows: Sequence[dict[str, Any]]) -> str:
    """Return the picture as SVG with a title and a description."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": "first picture", "font.size": 10.5}):
        figure = Figure(figsize=(7.6, 3.9), layout="constrained", facecolor="white")
        axes: Any = figure.subplots()
        (dense,) = (row for row in rows if row["method"] == "dense")
        axes.axhline(100 * dense["accuracy"], color="#5b6573", linestyle="--", linewidth=0.9)
        said = [f"dense: {_words(dense)}"]
        for method, (label, colour, marker) in SERIES.items():
            points = [dense, *(row for row in rows if row["method"] == method)]
            points.sort(key=lambda row: -row["percent"])
            if len(points) == 1:
                continue
            ours = method == "gates"
            axes.plot(
                [row["processor_ms"] for row in points], [100 * row["accuracy"] for row in points],
                label=label, color=colour, marker=marker, linewidth=2.4 if ours else 1.1,
                markersize=7 if ours else 5.5, zorder=3 if ours else 2,
            )  # fmt: skip
            for row in points[1:]:
                said.append(f"{label}, {row['percent']}% of the MACs: {_words(row)}")
                if ours:
                    place = (row["processor_ms"], 100 * row["accuracy"])
                    beside = (7, 5 if row["percent"] == 50 else -13)
                    axes.annotate(
                        f"{row['percent']}%", place, beside, textcoords="offset points",
                        color=colour, weight="bold",
                    )  # fmt: skip
        place = (dense["processor_ms"], 100 * dense["accuracy"])
        axes.plot(*place, "D", color="#1a1d21", markersize=7, zorder=4)
        axes.annotate("dense", place, (0, 9), textcoords="offset points", ha="center", weight="bold")
        axes.set(
            xlabel=f"milliseconds of a core for {SECONDS:g} s of audio, PyTorch",
            ylabel="accuracy, %", xlim=(0, None),
        )  # fmt: skip
        axes.grid(axis="y", alpha=0.2)
        axes.legend(loc="lower right", fontsize=9.5)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return described("\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n", said)


def _words(row: dict[str, Any]) -> str:
    return f"{100 * row['accuracy']:.1f}% in {row['processor_ms']:.1f} ms"


def described(svg: str, said: Sequence[str]) -> str:
    """Return an SVG with a role, a title and a description for readers that do not see it."""
    start = svg.index(">", svg.index("<svg ")) + 1
    head = svg[:start].replace("<svg ", '<svg role="img" aria-labelledby="picture-title picture-words" ', 1)
    told = (
        f'\n <title id="picture-title">{TITLE}</title>\n <desc id="picture-words">{"; ".join(said)}.</desc>'
    )
    return head + told + svg[start:]


if __name__ == "__main__":
    main()
