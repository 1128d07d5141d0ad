"""Where the time goes: the parts sum to the whole, and a unit takes what the table says."""

import json

import pytest
import torch

import prune_ssl
from prune_ssl.profiling import table as tables
from prune_ssl.profiling import time_by_part
from tests.support.cli import run_cli
from tests.support.models import tiny_model
from tests.support.tables import fake_table, table_at


@pytest.mark.parametrize(("family", "part"), [("hubert", "position"), ("wav2vec2-conformer", "convolution")])
def test_parts_sum_to_the_whole(family, part):
    model = tiny_model(family, "ForCTC")
    graph = prune_ssl.trace(model)
    table = fake_table(graph)
    found = time_by_part(model, graph, table)
    assert sum(found.by_part.values()) == found.total_ns == table.dense_ns
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.by_part["ffn"] == sum(
        segment.times_ns[-1] for segment in table.segments if graph.groups[segment.name].kind == "ffn"
    )
    assert (found.by_part[part] > 0) == (part in found.shares)
    assert found.per_unit["layer.0.heads"] == 1000
    assert "hidden" not in found.per_unit


def test_the_model_is_left_as_it_was():
    model = tiny_model("hubert", "Model").train()
    hooks = [len(module._forward_hooks) for module in model.modules()]
    state = torch.get_rng_state()
    time_by_part(model, graph := prune_ssl.trace(model), fake_table(graph))
    assert model.training
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert torch.equal(torch.get_rng_state(), state)


def test_trace_prints_times_beside_macs(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNE_SSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tables, "measure_table", lambda model, graph, at: table_at(graph, at))
    prune_ssl.save_pretrained(tiny_model(), tmp_path / "dense")
    said = run_cli("trace", tmp_path / "dense", "--latency", "cpu,threads=2", "--only", "layer.0.*")
    assert said.exit_code == 0, said.output
    assert "us/unit" in said.stdout
    assert "ms (cpu, threads=2, 10 s, float32): frontend" in " ".join(said.stdout.split())
    result = run_cli("trace", tmp_path / "dense", "--latency", "cpu", "--seconds", "2", "--json")
    latency = json.loads(result.stdout)["latency"]
    assert latency["ns_per_unit"]["layer.1.heads"] == 1000
    assert sum(latency["parts_ns"].values()) == latency["total_ns"]
    compiled = run_cli("trace", tmp_path / "dense", "--latency", "compile,seconds=2")
    assert "(compile on cpu, threads=1, 2 s, float32)" in " ".join(compiled.stdout.split()), compiled.output
    refused = run_cli("trace", tmp_path / "dense", "--latency", "tpu")
    assert refused.exit_code == 2
    assert refused.stderr.splitlines()[-1].startswith("error: ")
