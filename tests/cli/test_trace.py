"""The command `trace`: a table for people, JSON for programs."""

import json

import prune_ssl
from prune_ssl.families.published import ARCHITECTURES
from prune_ssl.profiling import Breakdown
from tests.support.cli import run_cli
from tests.support.models import tiny_model


def test_trace_prints_a_table_and_json(tmp_path):
    tiny_model().save_pretrained(tmp_path / "dense")
    table = run_cli("trace", tmp_path / "dense")
    assert table.exit_code == 0
    assert "layer.2.heads" in table.output
    said = " ".join(table.output.split())
    assert "the costs of their units overlap and do not add up" in said
    assert "note: a unit of hidden is" in said
    result = run_cli("trace", tmp_path / "dense", "--json", "--seconds", "2")
    data = json.loads(result.stdout)
    graph = prune_ssl.trace(tiny_model())
    assert data["macs"] == graph.cost(seconds=2).macs
    assert [row["group"] for row in data["groups"]] == list(graph.groups)
    without = graph.cost({"layer.1.ffn": range(23)}, seconds=2)
    row = next(row for row in data["groups"] if row["group"] == "layer.1.ffn")
    assert row["macs_per_unit"] == graph.cost(seconds=2).macs - without.macs
    assert row["params_per_unit"] == graph.cost().params - without.params


def test_times_of_units_fit_into_80_columns_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the folder's name is in the table
    tiny_model().save_pretrained("dense")
    times = Breakdown(
        "cpu, threads=1, 10 s, float32", 10**7, {"frontend": 4 * 10**6}, {"layer.1.ffn": 12_300}
    )
    monkeypatch.setattr("prune_ssl.cli.trace._timed", lambda *given: times)
    result = run_cli("trace", "dense", "--latency", "cpu,threads=1")
    assert result.exit_code == 0, result.output
    assert "…" not in result.stdout
    (line,) = [line for line in result.stdout.splitlines() if "layer.1.ffn" in line]
    assert "12.3" in line
    assert "frontend 40.0%" in result.stdout
    data = json.loads(run_cli("trace", "dense", "--json", "--latency", "cpu").stdout)
    assert data["latency"]["ns_per_unit"] == {"layer.1.ffn": 12_300}


def test_an_architecture_is_traced_with_random_weights(monkeypatch):
    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 8, "conv_dim": [8] * 7}
    sizes = ("wav2vec2", {**small, "num_hidden_layers": 1, "num_conv_pos_embedding_groups": 2})
    monkeypatch.setitem(ARCHITECTURES, "tiny", sizes)
    result = run_cli("trace", "arch:tiny")
    assert result.exit_code == 0, result.output
    assert "layer.0.ffn" in result.output
    assert "no such architecture; wanted arch: and one of" in " ".join(
        run_cli("trace", "arch:no").output.split()
    )
