"""Paired differences between stages, and lines that say how intervals were drawn."""

import numpy as np
import pytest

from prune_ssl.errors import DataError
from prune_ssl.reporting import Report, RunFacts, report
from prune_ssl.reporting.card import Provenance, model_card
from prune_ssl.reporting.content import summary
from prune_ssl.reporting.paired import interval_lines, stage_differences
from prune_ssl.reporting.render import html, markdown
from prune_ssl.tasks import Outcomes, paired_difference
from tests.support.models import tiny_model

GENERATOR = np.random.default_rng(0)
SPEAKERS = tuple(range(4)) * 30
OUTCOMES = {
    stage: Outcomes("accuracy", tuple(GENERATOR.binomial(1, chance, 120).tolist()), (), SPEAKERS)
    for stage, chance in (("recovered", 0.8), ("dense", 0.9), ("cut", 0.3))
}
DATA = {stage: found.to_data() for stage, found in OUTCOMES.items()}


def test_each_stage_is_compared_with_the_first() -> None:
    found = stage_differences(DATA)
    assert [(each.stage, each.against) for each in found] == [("cut", "dense"), ("recovered", "dense")]
    wanted = paired_difference(OUTCOMES["dense"], OUTCOMES["recovered"])
    assert found[1].model_dump() == {
        "metric": "accuracy",
        "stage": "recovered",
        "against": "dense",
        "difference": wanted.difference,
        "low": wanted.low,
        "high": wanted.high,
        "standard_error": wanted.standard_error,
        "drawn": "by speaker, 4 speakers",
    }
    assert stage_differences({}) == stage_differences({"dense": DATA["dense"]}) == []


def test_stages_after_the_control_are_compared_with_it_too() -> None:
    control = Outcomes("accuracy", tuple(GENERATOR.binomial(1, 0.85, 120).tolist()), (), SPEAKERS)
    found = stage_differences(DATA | {"control": control.to_data()})
    assert [(each.stage, each.against) for each in found] == [
        *[(stage, "dense") for stage in ("control", "cut", "recovered")],
        *[(stage, "control") for stage in ("cut", "recovered")],
    ]
    assert found[-1].difference == paired_difference(control, OUTCOMES["recovered"]).difference


def test_stages_that_were_judged_on_other_clips_are_not_compared() -> None:
    other = Outcomes("accuracy", (1, 0)).to_data()
    with pytest.raises(DataError, match="on the same clips"):
        stage_differences(DATA | {"cut": other})


def test_a_line_says_what_was_drawn() -> None:
    found = {"wer": 0.1, "wer_low": 0.05, "wer_high": 0.2, "cer": 0.02, "clips": 9.0}
    assert list(interval_lines(found)) == ["wer 10.0%, 95% interval 5.0% to 20.0% (by clip)"]
    drawn = found | {"wer_speakers": 3.0}
    assert list(interval_lines(drawn)) == ["wer 10.0%, 95% interval 5.0% to 20.0% (by speaker, 3 speakers)"]


def test_all_layouts_show_the_difference(tmp_path) -> None:
    model = tiny_model(num_labels=2)
    results = {stage: found.metrics() for stage, found in OUTCOMES.items()}
    made = report(model, model, results=results, with_latency=False, facts=RunFacts(outcomes=DATA))
    again = Report.load(made.save(tmp_path / "report.json"))
    assert again.data == made.data
    difference = made.data.differences[-1]
    shown = f"{100 * difference.difference:+.1f} points"
    (row,) = [row for row in summary(made.data).rows if row[0] == "accuracy"]
    assert row[-1].startswith(f"{shown} ({100 * difference.low:+.1f} to ")
    for text in (markdown(made.data), html(made.data)):
        assert "accuracy, after recovery minus dense" in text
        assert shown in text
        assert "(by speaker, 4 speakers)" in text
        assert "accuracy_speakers" not in text
    card = model_card(made.data, Provenance())
    assert f"- accuracy, after recovery minus dense: {shown} (" in card
    assert "accuracy_speakers" not in card
