"""Data of a report, and what it warns of."""

import json
from pathlib import Path
from typing import Any

from prune_ssl.measuring import Latency, SpeedUp
from prune_ssl.reporting import Report, ReportData
from prune_ssl.reporting.content import sections
from prune_ssl.reporting.model import Comparison


def with_comparisons(made: Report, *comparisons: Comparison) -> ReportData:
    return made.data.model_copy(update={"comparisons": list(comparisons)})


def comparison(macs_ratio: float, ratio: float, within_noise: bool = False) -> Comparison:
    speed = SpeedUp(ratio, ratio, ratio, within_noise, seconds=1.0, threads=1)
    return Comparison(speed_up=speed, macs_ratio=macs_ratio)


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


def test_the_recipe_and_the_losses_of_every_phase_are_kept(made: Report, tmp_path: Path) -> None:
    again = Report.load(made.save(tmp_path / "report.json")).data
    assert again == made.data
    assert again.recipe["data"] == {"path": "corpus", "snr_db": [0.0, 20.0]}
    assert list(again.phases) == ["pruning", "recovery"]
    assert [(record.loss, record.learning_rate) for record in again.phases["recovery"]] == [
        (0.5, 1e-3),
        (0.25, 5e-4),
    ]


def test_a_report_of_an_earlier_version_is_read(made: Report, tmp_path: Path) -> None:
    path = made.save(tmp_path / "report.json")
    data = json.loads(path.read_text())
    del data["recipe"]
    for record in data["history"]:
        del record["loss"], record["learning_rate"]
    path.write_text(json.dumps(data))
    earlier = Report.load(path).data
    assert (earlier.recipe, earlier.phases) == ({}, {})
    training = next(section for section in sections(earlier) if section.title == "Training")
    assert [table.columns for table in training.tables] == [["setting", "value"]]
    assert training.plots == []
