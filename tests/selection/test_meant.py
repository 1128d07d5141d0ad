"""Likely meanings of budgets that break the grammar: each of them follows it."""

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.errors import BudgetError
from prune_ssl.selection import parse_budget
from prune_ssl.selection.meant import METRICS, likely_budgets, plain

OPTIONS = ("threads", "seconds", "dtype")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("50%", ["macs=50%"]),
        ("-30%", ["macs=70%", "macs=30%"]),
        ("0.5", ["macs=50%"]),
        ("MACs: 0,5", ["macs=50%"]),
        ("50 % of parameters", ["params=50%"]),
        ("50 percent of the encoder's weights", ["encoder.params=50%"]),
        ("2 GFLOPs", ["macs=1G"]),
        ("1.5 gmacs", ["macs=1.5G"]),
        ("2 million parameters", ["params=2M"]),
        ("40 MiB", ["memory=41943040B"]),
        ("latency: 12 msec", ["latency=12ms"]),
        ("time = 0.5 s @ gpu", ["latency=0.5s@cuda"]),
        ("12ms @ cuda:0", ["latency=12ms@cuda"]),
        ("params=20MB", ["memory=20MB"]),
        ("20M", ["params=20M", "macs=20M"]),
        ("macs=50", ["macs=50%", "macs=50M"]),
        ("macs=50%;params=40%", ["macs=50%,params=40%"]),
        ("macs=50% params=40%", ["macs=50%,params=40%"]),
        ("thread=2", ["threads=2"]),
    ],
)
def test_what_people_write_is_understood(text: str, wanted: list[str]) -> None:
    assert likely_budgets(text, OPTIONS) == wanted


@pytest.mark.parametrize("text", ["", "half", "50% 60%", "macs=", "50 apples", "120%", "layer.3", "0"])
def test_what_means_nothing_gives_no_advice(text: str) -> None:
    assert likely_budgets(text, OPTIONS) == []


WORDS = st.sampled_from([*METRICS, "of", "encoder", "frontend", "the", "="])
UNITS = st.sampled_from(["%", "percent", "M", "GB", "ms", "kib", "", " million", "s"])
NUMBERS = st.decimals(-200, 2000, places=3, allow_nan=False).map(str)


@given(before=st.lists(WORDS, max_size=3), number=NUMBERS, unit=UNITS, after=st.lists(WORDS, max_size=2))
def test_the_advice_of_an_error_can_be_followed(
    before: list[str], number: str, unit: str, after: list[str]
) -> None:
    try:
        parse_budget(" ".join([*before, f"{number}{unit}", *after]))
    except BudgetError as error:
        advice = re.search(r"did you mean (.*?)\? wanted", str(error))
        for each in advice[1].split(" or ") if advice else ():
            assert parse_budget(each)


@given(text=st.text(max_size=400))
def test_no_text_breaks_it(text: str) -> None:
    assert isinstance(likely_budgets(text, OPTIONS), list)


@given(value=st.decimals(0, 10**9, allow_nan=False, places=9))
def test_decimals_are_written_without_an_exponent_and_in_full(value) -> None:
    shown = plain(Fraction(value))
    assert "e" not in shown.lower()
    assert Fraction(shown) == Fraction(value)


def test_of_other_fractions_four_digits_are_written() -> None:
    assert plain(Fraction(1, 3)) == "0.3333"
    assert plain(Fraction(200, 3)) == "66.6667"
