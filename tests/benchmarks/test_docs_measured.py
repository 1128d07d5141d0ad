"""The figures that are repeated: each is stated on its page, and one that differs is said to have moved."""

import docs_measured
import pytest
from docs_measured import FIGURES, PAGES, Figure, figure_again, number

from tests.support.paths import ROOT


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: f"{figure.page}: {figure.stated}")
def test_each_figure_is_stated_on_its_page(figure: Figure) -> None:
    assert number(figure.stated, (ROOT / figure.page).read_text(encoding="utf-8")) is not None
    assert number(figure.stated, "nothing") is None


def test_all_of_them_fit_an_hour() -> None:
    minutes = {each.command: each.minutes for each in (*FIGURES, *PAGES)}
    assert sum(minutes.values()) <= 60


@pytest.mark.parametrize(
    ("output", "words"),
    [("8 budgets 6 runs", "holds"), ("8 budgets 7 runs", "moved"), ("Traceback\nTypeError: x", "not found")],
)
def test_a_figure_outside_of_its_interval_has_moved(
    monkeypatch: pytest.MonkeyPatch, output: str, words: str
) -> None:
    monkeypatch.setattr(docs_measured, "output_of", lambda command: output)
    figure = Figure("docs/many_machines.md", "need # runs at", "-c ''", "budgets # runs", interval=0.5)
    assert figure_again(figure).startswith(words)
    gone = Figure("docs/many_machines.md", "words that no page has #", "-c ''", "#")
    assert figure_again(gone).startswith("not stated any more")
