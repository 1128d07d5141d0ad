"""What a report says of times and lengths: claims, and the reasons where none is made."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from prune_ssl.measuring import Timing, speed_up
from prune_ssl.reporting import Report, render, report
from prune_ssl.reporting.content import sections, summary
from prune_ssl.resizing import resize
from prune_ssl.tracing import trace
from tests.support.models import tiny_model
from tests.support.reports import HOSTILE


def with_latencies(made, change):
    """Return a report's data with its latencies changed and compared anew."""
    facts = {
        name: getattr(made.data, name).model_copy(
            update={
                "measurement": replace(
                    getattr(made.data, name).measurement,
                    latency=[change(each) for each in getattr(made.data, name).measurement.latency],
                )
            }
        )
        for name in ("model", "baseline")
    }
    pairs = zip(facts["baseline"].measurement.latency, facts["model"].measurement.latency, strict=True)
    compared = [
        old.model_copy(update={"speed_up": speed_up(*pair)})
        for old, pair in zip(made.data.comparisons, pairs, strict=True)
    ]
    return made.data.model_copy(update=facts | {"comparisons": compared})


@pytest.fixture(scope="module")
def timed():
    dense = tiny_model()
    small = resize(dense, trace(dense), {"layer.0.ffn": range(4)})
    timing = Timing(seconds=(0.2,), threads=1, min_iterations=3, min_seconds=0.0)
    return report(small, baseline=dense, timing=timing)


def test_every_layout_says_why_no_speed_up_is_claimed(timed, tmp_path):
    data = with_latencies(timed, lambda each: replace(each, p10_ms=each.p90_ms / 5, n=60))
    unsteady = Report(data)
    texts = [unsteady.save(tmp_path / f"r.{suffix}").read_text() for suffix in ("md", "html", "json")]
    assert all("the 90th percentile is 5.0 times the 10th" in text for text in texts)
    assert Report.load(tmp_path / "r.json") == unsteady
    rows = {row[0]: row[-1] for row in summary(data).rows}
    assert rows["latency, 0.2 s, 1 thread"] == "not claimed"
    assert "5.0 times the 10th" in str(unsteady.summary_table().caption)
    alone = data.model_copy(update={"baseline": None, "comparisons": []})
    assert any("Do not quote these latencies" in warning for warning in alone.warnings)


def test_processor_time_stands_beside_wall_time(timed):
    page = render.markdown(timed.data)
    assert "| processor |" in page
    latency = timed.data.model.measurement.latency[0]
    assert latency.processor_ms > 0
    assert latency.processor_share > 0
    assert len(latency.repeats_ms) == 3


def test_the_summary_has_macs_at_the_length_of_every_latency(timed):
    names = [row[0] for row in timed.table().rows]
    assert [name for name in names if name.startswith("MACs")] == ["MACs, 0.2 s"]
    other = timed.data.model_copy(update={"reference_seconds": 1.0})
    macs = replace(other.model.measurement, macs={0.2: 10, 1.0: 50})
    both = other.model_copy(
        update={"model": other.model.model_copy(update={"measurement": macs}), "baseline": None}
    )
    assert [row[0] for row in summary(both).rows][1:3] == ["MACs, 0.2 s", "MACs, 1 s"]


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


def test_training_has_its_settings_and_a_row_for_each_phase(made: Report) -> None:
    training = next(section for section in sections(made.data) if section.title == "Training")
    settings, losses = training.tables
    assert ["seed", "1"] in settings.rows
    assert losses.rows == [
        ["pruning", "70", "1", "1", "-"],
        ["recovery", "9", "0.5", "0.25", "0.001"],
    ]
    assert training.plots == ["losses"]


def test_losses_alone_make_no_section_on_a_budget(made: Report) -> None:
    plain = made.data.model_copy(update={"budget": [], "history": made.data.phases["recovery"]})
    assert "Budget" not in [section.title for section in sections(plain)]
