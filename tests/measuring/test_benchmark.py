"""Benchmarks of several models: rows, reasons of failures, and why nothing is claimed."""

import csv
import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from prune_ssl.artifacts import save_pretrained
from prune_ssl.errors import ArtifactError
from prune_ssl.measuring import (
    Timing,
    bench_table,
    benchmark_models,
    write_rows,
)
from prune_ssl.models.optimised import is_optimised
from prune_ssl.resizing import resize
from prune_ssl.tracing import trace
from tests.support.models import tiny_model


def printed(table, width):
    out = StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue()


def test_a_benchmark_says_why_it_claims_nothing():
    rows = benchmark_models(["arch:nothing"], Timing(seconds=0.1, threads=1))
    row = replace(rows[0], problem="", model="a", seconds=1.0, threads=1, within_noise=True, reason="no core")
    assert "a, 1 s, 1 thread: no core" in str(bench_table([row]).caption)


@pytest.mark.parametrize("optimised", [True, False])
def test_all_models_are_optimised_alike_unless_they_are_timed_as_they_are(optimised, monkeypatch, tmp_path):
    save_pretrained(tiny_model(), tmp_path / "dense")
    timed = []

    def time_nothing(models, *_):
        timed.extend(map(is_optimised, models.values()))
        return {name: [] for name in models}

    monkeypatch.setattr("prune_ssl.measuring.benchmark.measure_interleaved", time_nothing)
    assert benchmark_models([str(tmp_path / "dense")], QUICK, optimised=optimised) == []
    assert timed == [optimised]


QUICK = Timing(seconds=0.1, threads=1, min_iterations=3, min_seconds=0.0)


def test_a_benchmark_gives_rows_and_one_reason_for_each_model_that_fails(tmp_path: Path) -> None:
    dense = tiny_model()
    graph = trace(dense)
    save_pretrained(dense, tmp_path / "dense")
    small = resize(dense, graph, {name: range(group.size // 2) for name, group in graph.groups.items()})
    save_pretrained(small, tmp_path / "small")
    names = [str(tmp_path / "dense"), "arch:nothing", str(tmp_path / "small")]
    rows = benchmark_models(names, QUICK)
    first, second, failed = rows
    assert (first.params, first.macs) == (graph.cost().params, graph.cost(seconds=0.1).macs)
    assert first.speed_up == first.macs_ratio == 1.0
    assert second.macs_ratio is not None
    assert second.macs_ratio > 1.0
    assert "no such architecture" in failed.problem
    assert bench_table(rows).row_count == 2
    narrow, wide = (printed(bench_table(rows, width), width) for width in (80, 160))
    assert max(map(len, narrow.splitlines())) <= 80
    assert "…" not in narrow + wide
    assert all(
        f"{row.median_ms:.2f} ms" in each for row in rows if not row.problem for each in (narrow, wide)
    )
    assert "p90" in wide

    content = json.loads(write_rows(rows, tmp_path / "rows.json").read_text())
    assert content["rows"][0]["macs"] == first.macs
    assert content["environment"]["torch"] == torch.__version__
    with write_rows(rows, tmp_path / "rows.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["model"] for row in read] == [names[0], names[2], names[1]]
    with pytest.raises(ArtifactError, match=r"wanted \.json or \.csv"):
        write_rows(rows, tmp_path / "rows.txt")


def test_models_are_measured_in_several_runtimes(tmp_path: Path) -> None:
    save_pretrained(tiny_model(), tmp_path / "dense")
    rows = benchmark_models(
        [str(tmp_path / "dense")], QUICK, runtimes=("bfloat16", "torch-int8", "cuda-graphs")
    )
    assert [(row.runtime, bool(row.problem)) for row in rows[:2]] == [
        ("bfloat16", False),
        ("torch-int8", False),
    ]
    if not torch.cuda.is_available():
        assert "no CUDA device" in rows[2].problem
    assert rows[0].speed_up == 1.0
    text = printed(bench_table(rows, 80), 80)
    assert "torch-int8" in text
    assert max(map(len, text.splitlines())) <= 80
