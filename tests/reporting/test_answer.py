"""The first screen of a report: its tiles and its sentence claim only what the figures tell."""

from dataclasses import replace

import pytest

from prune_ssl.measuring import speed_up
from prune_ssl.reporting import answer, render
from prune_ssl.reporting.model import DifferenceFacts

PAIRED = DifferenceFacts(
    metric="accuracy",
    stage="recovered",
    against="dense",
    difference=-0.02,
    low=-0.03,
    high=-0.01,
    standard_error=0.005,
    drawn="by clip",
)


def with_difference(made, **changes):
    return made.data.model_copy(update={"differences": [PAIRED.model_copy(update=changes)]})


def test_a_change_that_its_interval_tells_is_said_with_its_direction(made):
    assert "its accuracy is 2.0 points worse than the dense model's" in answer.verdict(with_difference(made))
    better = with_difference(made, difference=0.02, low=0.01, high=0.03)
    assert "its accuracy is 2.0 points better" in answer.verdict(better)


def test_fewer_errors_are_better(made):
    results = {"dense": {"wer": 0.2}, "recovered": {"wer": 0.1}}
    data = with_difference(made, metric="wer", difference=-0.1, low=-0.12, high=-0.08)
    assert "its WER is 10.0 points better" in answer.verdict(data.model_copy(update={"results": results}))


def test_a_change_within_its_interval_is_not_claimed(made):
    assert "cannot be told from" in answer.verdict(with_difference(made, high=0.01))


def test_without_paired_clips_nothing_is_said_of_the_change_but_its_size(made):
    assert "accuracy" not in answer.verdict(made.data)
    (tile,) = [tile for tile in answer.tiles(made.data) if tile.name == "Accuracy"]
    assert tile.figure == "96.9%"
    assert tile.details == ("dense: 97.4%", "-0.5 points")


def test_three_timed_calls_claim_no_speed_up(made):
    assert "no speed-up is claimed" in answer.verdict(made.data)
    (tile,) = [tile for tile in answer.tiles(made.data) if tile.name == "Time"]
    assert "no speed-up is claimed" in tile.details


def timed(latency, ms):
    """Return a latency of a quiet machine."""
    times = {"median_ms": ms, "p10_ms": ms, "p90_ms": ms, "low_ms": ms, "processor_ms": ms}
    return replace(latency, n=60, repeats_ms=(ms,) * 8, processor_share=1.0, load=0.0, **times)


def test_a_claimed_speed_up_is_of_the_longest_audio(made):
    compared = []
    for each in made.data.comparisons:
        slow = made.data.baseline.measurement.latency_at(each.speed_up.seconds, 1)
        before, after = timed(slow, 10.0), timed(slow, 5.0)
        compared.append(each.model_copy(update={"speed_up": speed_up(before, after)}))
    data = made.data.model_copy(update={"comparisons": compared})
    assert "it is 2.00x as fast on 0.5 s of audio" in answer.verdict(data)


def test_the_page_answers_before_it_warns(made):
    page = render.html(made.data)
    assert page.index("class=verdict") < page.index("class=tiles") < page.index('class="warning"')
    assert render.markdown(made.data).index("model keeps") < render.markdown(made.data).index("**Warning")


def test_a_model_that_is_reported_alone_has_tiles_and_no_verdict(made):
    alone = made.data.model_copy(update={"baseline": None, "comparisons": []})
    assert answer.verdict(alone) == ""
    assert [tile.name for tile in answer.tiles(alone)] == ["Size", "Time", "Accuracy"]


@pytest.mark.parametrize(("name", "title"), [("eer", "Eer"), ("f1", "F1")])
def test_headings_keep_the_case_of_short_names(made, name, title):
    data = made.data.model_copy(update={"results": {"recovered": {name: 0.25}}})
    assert answer.tiles(data)[-1].name == title.upper()


def test_a_shell_shows_the_answer_and_a_notebook_the_main_numbers(made):
    assert repr(made).startswith("Report(")
    assert "of the parameters" in repr(made)
    shown = made._repr_html_()
    assert "<table>" in shown
    assert "<script>" not in shown  # the title is hostile
