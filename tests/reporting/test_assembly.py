"""The report: what it says, that it says it safely, and that it can be read back."""

import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from prune_ssl.errors import ArtifactError, BudgetError
from prune_ssl.measuring import Latency, SpeedUp, Timing
from prune_ssl.reporting import Report, ReportData, RunFacts, render, report
from prune_ssl.reporting.content import sections
from prune_ssl.reporting.model import Comparison
from prune_ssl.reporting.plots import PLOTS, draw
from prune_ssl.resizing import resize
from prune_ssl.tracing import trace
from tests.support.models import tiny_model
from tests.support.reports import HOSTILE


class Page(HTMLParser):
    """Collects tags, addresses and text; fails on tags that don't close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag != "meta":
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def with_comparisons(made: Report, *comparisons: Comparison) -> ReportData:
    return made.data.model_copy(update={"comparisons": list(comparisons)})


def comparison(macs_ratio: float, ratio: float, within_noise: bool = False) -> Comparison:
    speed = SpeedUp(ratio, ratio, ratio, within_noise, seconds=1.0, threads=1)
    return Comparison(speed_up=speed, macs_ratio=macs_ratio)


def test_costs_are_those_of_the_graphs(made: Report) -> None:
    dense, small = made.data.baseline, made.data.model
    assert dense is not None
    graph = trace(tiny_model())
    assert dense.measurement.macs == {length: graph.cost(seconds=length).macs for length in (0.2, 0.5, 1.0)}
    assert sum(part.macs for part in dense.sections.values()) == dense.measurement.macs[1.0]
    assert sum(part.params for part in small.sections.values()) == small.measurement.params
    assert small.groups["conv.0"].size == dense.groups["conv.0"].size // 2


def test_every_term_of_the_budget_is_set_against_what_was_reached(made: Report) -> None:
    dense, small = made.data.baseline, made.data.model
    assert dense is not None
    whole, frontend, params = made.data.budget
    assert whole.fraction == small.measurement.macs[1.0] / dense.measurement.macs[1.0]
    assert frontend.term == "frontend.macs=40%"
    assert frontend.achieved == small.sections["frontend"].macs
    assert params.achieved == small.measurement.params


def test_metrics_of_all_stages_lose_the_trainer_prefix_and_its_bookkeeping(made: Report) -> None:
    assert made.data.results == {
        "dense": {"accuracy": 0.974, "loss": 0.1},
        "cut": {"accuracy": 0.4, "loss": 2.0},
        "recovered": {"accuracy": 0.969},
    }
    task = next(section for section in sections(made.data) if section.title == "Task")
    assert task.tables[0].columns == ["metric", "dense", "after cutting", "after recovery"]
    assert task.tables[0].rows == [["accuracy", "97.4%", "40.0%", "96.9%"], ["loss", "0.1", "2", "-"]]


def test_the_summary_has_accuracy_parameters_macs_and_latency(made: Report) -> None:
    table = made.table()
    names = [row[0] for row in table.rows]
    assert table.columns[:3] == ["", "dense", "pruned"]
    assert table.rows[0] == ["accuracy", "97.4%", "96.9%", "-0.5 points"]
    assert {"parameters", "MACs, 1 s", "latency, 0.2 s, 1 thread", "latency, 0.5 s, 1 thread"} <= set(names)
    assert {len(row) for row in table.rows} == {4}
    out = StringIO()
    Console(file=out, width=100).print(made.summary_table())
    assert HOSTILE in out.getvalue()


def test_a_layer_without_heads_counts_as_zero_units(made: Report) -> None:
    kept = next(section for section in sections(made.data) if section.title == "Kept units").tables[0]
    assert ["layer.1.heads", "4", "0", "0.0%"] in kept.rows


def test_json_reads_back_equal(made: Report, tmp_path: Path) -> None:
    assert Report.load(made.save(tmp_path / "new" / "report.json")) == made


def test_html_is_one_page_that_loads_nothing_and_escapes_everything(made: Report, tmp_path: Path) -> None:
    text = made.save(tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert all(address.startswith("#") for address in page.addresses)
    assert not re.search(r"url\((?!#)|@import", text)
    assert page.tags.count("svg") == 3
    assert HOSTILE in page.text
    assert "within noise" in page.text  # three calls claim nothing


def test_html_ids_are_unique_so_that_plots_do_not_borrow_from_each_other(
    made: Report, tmp_path: Path
) -> None:
    text = made.save(tmp_path / "report.html").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:xlink:href=\"#|url\(#)([^\")]+)", text)) <= set(ids)


def test_markdown_tables_are_whole_and_hostile_names_do_not_break_them(made: Report, tmp_path: Path) -> None:
    lines = made.save(tmp_path / "report.md").read_text(encoding="utf-8").splitlines()
    blocks: list[list[int]] = []
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|"):
            cells = len(re.findall(r"(?<!\\)\|", line))
            blocks = blocks if before.startswith("|") else [*blocks, []]
            blocks[-1].append(cells)
    assert len(blocks) >= 8
    assert all(len(set(block)) == 1 and len(block) >= 3 for block in blocks)
    assert not any("<script>" in line for line in lines)


@pytest.mark.parametrize("name", PLOTS)
def test_plots_are_well_formed_and_the_same_for_the_same_data(made: Report, name: str) -> None:
    drawing = draw(made.data, name)
    assert ElementTree.fromstring(drawing).tag == "{http://www.w3.org/2000/svg}svg"
    assert drawing == draw(made.data, name)
    assert "currentColor" in drawing
    assert "currentColor" not in made.plot(name)


def test_another_suffix_is_refused(made: Report, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"'\.pdf'; wanted one of \.json, \.md, \.html"):
        made.save(tmp_path / "report.pdf")
    with pytest.raises(ArtifactError, match=r"can't read .*nothing\.json"):
        Report.load(tmp_path / "nothing.json")


def test_macs_that_do_not_tell_the_speed_are_warned_of(made: Report) -> None:
    assert "MACs fell 4.00x and time 2.00x" in with_comparisons(made, comparison(4.0, 2.0)).warnings[0]
    assert "do not predict" in with_comparisons(made, comparison(1.2, 2.0)).warnings[0]
    agreeing = with_comparisons(made, comparison(2.0, 1.5)).warnings
    assert not any("do not predict" in warning or "No speed-up" in warning for warning in agreeing)


def test_noise_is_said_and_not_called_a_divergence(made: Report) -> None:
    noisy = with_comparisons(made, comparison(4.0, 1.0, within_noise=True)).warnings
    assert noisy[0].startswith("No speed-up is claimed for 1 s of audio on 1 thread")
    assert not any("do not predict" in warning for warning in noisy)


def test_few_timed_calls_are_said(made: Report) -> None:
    assert any("fewer than 50 timed calls (the fewest: 3)" in warning for warning in made.data.warnings)
    many = Latency(1.0, 1.0, 1.0, n=50, threads=1, seconds=1.0)
    facts: Any = made.data.model.model_copy(
        update={"measurement": made.data.model.measurement.__class__(1, {1.0: 1}, [many])}
    )
    quiet = made.data.model_copy(update={"model": facts, "baseline": None, "comparisons": []})
    assert quiet.warnings == []


def test_a_model_alone_is_reported_without_comparison(tmp_path: Path) -> None:
    alone = report(tiny_model(), with_latency=False)
    assert alone.data.baseline is None
    assert alone.table().columns == ["", "model"]
    titles = [section.title for section in sections(alone.data)]
    assert titles == ["Summary", "MACs and parameters", "Kept units", "Environment", "Conventions"]
    for suffix in ("json", "md", "html"):
        assert alone.save(tmp_path / f"report.{suffix}").stat().st_size > 1000


def test_a_dense_graph_stands_in_for_a_dense_model_that_is_gone() -> None:
    dense = tiny_model()
    graph = trace(dense)
    small = resize(dense, graph, {"layer.0.ffn": range(4)})
    found = report(small, graph, with_latency=False, facts=RunFacts(budget="macs=50%")).data
    assert found.baseline is not None
    assert found.baseline.measurement.macs[10.0] == graph.cost(seconds=10.0).macs
    assert found.baseline.groups["layer.0.ffn"].size == 24
    assert found.budget[0].fraction == found.model.measurement.macs[10.0] / graph.cost(seconds=10.0).macs


def test_a_budget_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(BudgetError, match="parms=2M"):
        report(tiny_model(), with_latency=False, facts=RunFacts(budget="macs=50%,parms=2M"))


def test_memory_and_latency_are_set_against_what_was_measured() -> None:
    dense = tiny_model()
    small = resize(dense, trace(dense), {"layer.0.ffn": range(4)})
    budget = "memory=80%,dtype=float32,latency=60%@cpu,threads=1,seconds=0.2,latency=9s,seconds=3"
    timing = Timing(seconds=(0.2,), threads=1, min_iterations=3, min_seconds=0.0)
    made = report(small, baseline=dense, timing=timing, facts=RunFacts(budget=budget))
    memory, latency = made.data.budget  # nothing was timed at 3 s, and nothing is said of it
    facts, whole = made.data.model.measurement, made.data.baseline.measurement
    assert (memory.term, latency.term) == (
        "memory=80%,dtype=float32",
        "latency=60%@cpu,threads=1,seconds=0.2",
    )
    assert memory.achieved == facts.size_bytes
    assert memory.fraction == facts.size_bytes / whole.size_bytes
    assert latency.achieved == facts.latency_at(0.2, 1).median_ms
    assert latency.fraction == latency.achieved / whole.latency_at(0.2, 1).median_ms
    page = render.markdown(made.data)
    assert f"{facts.size_bytes / 1e6:.2f} MB" in page
    assert " ms |" in page
