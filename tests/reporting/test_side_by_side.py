"""Models side by side: their data, their page, and the results that their runs have left."""

import json

import pytest

from prune_ssl.errors import ArtifactError, ModelError
from prune_ssl.measuring import Timing
from prune_ssl.reporting.models_page import costs_table, verdict
from prune_ssl.reporting.side_by_side import Known, compare_models, known_results, named
from prune_ssl.resizing import resize
from prune_ssl.tracing import trace
from tests.support.models import tiny_model


@pytest.fixture(scope="module")
def models():
    dense = tiny_model()
    graph = trace(dense)
    halves = {name: range(group.size // 2) for name, group in graph.groups.items()}
    ffn = {name: keep for name, keep in halves.items() if name.endswith("ffn")}
    return {"<dense>": dense, "half": resize(dense, graph, halves), "ffn": resize(dense, graph, ffn)}


@pytest.fixture(scope="module")
def compared(models):
    known = {
        name: Known("accuracy", {"accuracy": value, "accuracy_low": value - 0.1, "accuracy_high": 1.0}, None)
        for name, value in zip(models, (0.9, 0.8, 0.85), strict=True)
    }
    quick = Timing(seconds=(0.2, 0.5), threads=1, min_iterations=3, min_seconds=0.0)
    return compare_models(models, timing=quick, known=known, title="A & B")


def test_each_model_has_a_row_with_its_share_of_the_first(compared):
    table = costs_table(compared.data)
    assert [row[0] for row in table.rows] == ["<dense>", "half", "ffn"]
    column = table.columns.index("parameters (kept)")
    kept = [float(row[column].partition("(")[2].rstrip("%)")) for row in table.rows]
    assert table.columns[1] == "accuracy (95% interval)"
    assert table.rows[1][1:3] == ["80.0% (70.0 to 100.0)", "-"]
    assert kept[0] == 100.0
    assert kept[1] < kept[2] < 100.0
    assert compared.data.models[1].difference is None  # no outcomes are known


def test_the_verdict_names_the_smallest_and_the_best(compared):
    said = verdict(compared.data)
    assert said.startswith("half has the fewest MACs, ")
    assert said.endswith("<dense> has the best accuracy, 90.0%.")


def test_the_page_loads_nothing_escapes_and_plots_both_costs(compared, tmp_path):
    page = compared.save(tmp_path / "models.html").read_text(encoding="utf-8")
    assert "<dense>" not in page
    assert "A &amp; B" in page
    assert "<script" not in page
    assert "http" not in page
    assert page.count("<svg") == 2
    assert page.count('class="dot"') == 6
    assert len(page) < 400_000
    assert json.loads(compared.save(tmp_path / "models.json").read_text())["models"][2]["name"] == "ffn"
    assert "| half |" in compared.save(tmp_path / "models.md").read_text()
    with pytest.raises(ArtifactError, match=r"its suffix is '\.pdf'"):
        compared.save(tmp_path / "models.pdf")


def test_models_that_cannot_be_compared_are_refused(models):
    with pytest.raises(ModelError, match="at least two"):
        compare_models({"one": models["half"]})
    with pytest.raises(ModelError, match="different tasks"):
        compare_models({"a": models["half"], "b": tiny_model(head="ForCTC")}, with_latency=False)


def test_results_are_found_in_the_folder_of_a_run(made, tmp_path):
    for folder in ("model", "dense", "other"):
        (tmp_path / folder).mkdir()
    made.save(tmp_path / "report.json")
    made.save(tmp_path / "model" / "report.json")
    (tmp_path / "other" / "report.json").write_text("[1]")
    assert known_results(tmp_path / "model").results["accuracy"] == 0.969
    assert known_results(tmp_path / "dense").results["accuracy"] == 0.974
    assert known_results(tmp_path / "other") is None
    assert known_results(tmp_path / "nowhere") is None


def test_names_are_as_short_as_tells_them_apart():
    assert named(["a/x/model", "b/x/model"]) == {"a": "a/x/model", "b": "b/x/model"}
    assert list(named(["org/base", "runs/small"])) == ["base", "small"]
