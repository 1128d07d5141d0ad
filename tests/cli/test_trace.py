"""The command `trace`: a table for people, JSON for programs."""

import json

import prune_ssl
from tests.support.cli import run_cli
from tests.support.models import tiny_model


def test_trace_prints_a_table_and_json(tmp_path):
    tiny_model().save_pretrained(tmp_path / "dense")
    table = run_cli("trace", tmp_path / "dense")
    assert table.exit_code == 0
    assert "layer.2.heads" in table.output
    result = run_cli("trace", tmp_path / "dense", "--json", "--seconds", "2")
    data = json.loads(result.stdout)
    graph = prune_ssl.trace(tiny_model())
    assert data["macs"] == graph.cost(seconds=2).macs
    assert [row["group"] for row in data["groups"]] == list(graph.groups)
    without = graph.cost({"layer.1.ffn": range(23)}, seconds=2)
    row = next(row for row in data["groups"] if row["group"] == "layer.1.ffn")
    assert row["macs_per_unit"] == graph.cost(seconds=2).macs - without.macs
    assert row["params_per_unit"] == graph.cost().params - without.params
