"""Pareto pages: the front, the page, the plot and its ticks."""

from xml.etree import ElementTree

import pytest

from prune_ssl.reporting.pareto import (
    best_table,
    front,
    models_table,
    pareto_csv,
    pareto_html,
    pareto_svg,
    verdict,
)
from prune_ssl.reporting.sweep_point import SweepPoint


def point(value, macs, metric="accuracy", **more):
    settings = {
        "budget": "macs=50%",
        "method": "gates",
        "seed": 0,
        "cut": 0.5,
        "dense": 0.9,
        "macs": 1000,
        "params": 10,
        "params_kept": 0.5,
        "latency_ms": None,
        "latency_kept": None,
        "folder": "f",
    }
    return SweepPoint(value=value, macs_kept=macs, metric=metric, **(settings | more))


def test_the_front_is_what_no_other_beats():
    points = [point(0.9, 0.8), point(0.7, 0.5), point(0.95, 0.8), point(0.6, 0.6), point(0.97, 1.0)]
    assert [(p.value, p.macs_kept) for p in front(points, "macs")] == [(0.7, 0.5), (0.95, 0.8), (0.97, 1.0)]
    errors = [point(0.3, 0.5, "wer"), point(0.2, 0.8, "wer"), point(0.4, 0.9, "wer")]
    assert [p.value for p in front(errors, "macs")] == [0.3, 0.2]
    assert front(points, "latency") == []


def test_a_page_escapes_and_leaves_out_what_was_not_measured():
    page = pareto_html([point(0.9, 0.8, method="<b>"), point(0.8, 0.5)], "A & B")
    assert "<b>" not in page
    assert "A &amp; B" in page
    assert page.count("<svg") == 2
    assert page.count('class="dot"') == 4
    assert "http" not in page.replace("http://www.w3.org", "")
    assert pareto_csv([point(0.9, 0.8)]).splitlines()[1].startswith("macs=50%,gates,0,accuracy,0.9")


def test_the_plot_is_a_file_of_its_own_with_a_line_through_the_means_of_a_method():
    points = [point(0.9, 0.8), point(0.7, 0.8, seed=1), point(0.5, 0.4, budget="macs=40%")]
    root = ElementTree.fromstring(pareto_svg(points, "macs"))
    space = "{http://www.w3.org/2000/svg}"
    circles = [
        (float(c.get("cx")), float(c.get("cy")))
        for c in root.iter(f"{space}circle")
        if c.get("class") == "dot"
    ]
    assert len(circles) == 3
    line = root.findall(f"{space}polyline")[-1].get("points").split()
    ends = [tuple(map(float, pair.split(","))) for pair in line]
    assert ends[0] == pytest.approx(circles[2], abs=0.11)
    assert ends[1] == pytest.approx((circles[0][0], (circles[0][1] + circles[1][1]) / 2), abs=0.11)
    assert "gates" in [text.text for text in root.iter(f"{space}text")]


def test_a_page_links_to_reports_and_shows_intervals_and_milliseconds():
    points = [
        point(0.9, 0.8, folder="sweep/a/model", low=0.85, high=0.95, latency_ms=12.0, latency_seconds=5.0),
        point(0.8, 0.8, folder="sweep/b/model", method="one_shot", budget="macs=40%"),
    ]
    page = pareto_html(points, "Sweep")
    assert page.count('href="a/report.html"') == 4  # three plots and the table
    assert "latency in ms (5 s of audio)" in page
    assert page.count('class="interval"') == 3
    assert "90.0% (85.0 to 95.0)" in page
    assert "<th scope=col" in page
    assert "href" not in pareto_svg(points, "macs")


def test_the_best_method_of_a_budget_is_that_of_the_best_mean():
    points = [
        *(point(value, 0.5, method="gates", seed=seed) for seed, value in enumerate((0.9, 0.7))),
        *(point(value, 0.5, method="taylor", seed=seed) for seed, value in enumerate((0.82, 0.84))),
    ]
    assert best_table(points).rows == [["macs=50%", "taylor", "83.0%", "90.0%", "gates, 80.0%", "2"]]
    tied = [point(0.8, 0.5), point(0.8, 0.5, method="taylor"), point(0.7, 0.5, method="random")]
    assert best_table(tied).rows == [["macs=50%", "gates and taylor", "80.0%", "90.0%", "random, 70.0%", "1"]]
    errors = [point(0.2, 0.5, "wer"), point(0.3, 0.5, "wer", method="taylor")]
    assert best_table(errors).rows[0][1] == "gates"


def test_the_verdict_names_the_smallest_model_near_the_dense_one():
    points = [
        *(
            point(value, 0.25, method="gates", budget="macs=25%", seed=seed)
            for seed, value in enumerate((0.9, 0.886))
        ),
        point(0.95, 0.5, method="taylor"),
        point(0.8, 0.1, method="taylor", budget="macs=10%"),
    ]
    assert verdict(points) == (
        "gates at macs=25% is the smallest model whose accuracy is within one point of the dense model's "
        "90.0%: 89.3% with 25.0% of the MACs."
    )
    assert verdict([point(0.8, 0.1)]).startswith("No method has a")
    assert verdict([point(0.905, 0.3, "wer")]).startswith("gates at macs=50% is")
    assert verdict([point(0.95, 0.3, "wer")]).startswith("No method")
    assert verdict([point(0.8, 0.1, dense=None)]) == ""


def test_the_table_of_a_page_is_short():
    one = models_table([point(0.9, 0.8, seconds=1.0), point(0.8, 0.5, seconds=1.0)])
    assert one.columns[-2:] == ["MACs, 1 s (kept)", "parameters (kept)"]
    assert "seed" not in one.columns
    timed = models_table([point(0.9, 0.8, seed=1, latency_ms=2.0, latency_kept=0.5), point(0.8, 0.5)])
    assert (timed.columns[3], timed.columns[-1]) == ("seed", "latency (kept)")
    assert [row[-1] for row in timed.rows] == ["2.00 ms (50.0%)", "-"]
