"""How numbers are written in reports."""

import pytest

from prune_ssl.reporting import formatting


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1 k"),
        (94_371_712, "94.37 M"),
        (6_870_000_000, "6.87 G"),
        (2.5e12, "2.5 T"),
        (-1_500, "-1.5 k"),
        (0.12345, "0.1235"),
    ],
)
def test_a_count_has_four_digits_and_a_prefix(value: float, text: str) -> None:
    assert formatting.quantity(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.126, "0.13 ms"), (9.994, "9.99 ms"), (12.34, "12.3 ms"), (123.4, "123 ms")]
)
def test_a_time_has_three_digits(value: float, text: str) -> None:
    assert formatting.milliseconds(value) == text


@pytest.mark.parametrize(
    ("term", "value", "text"),
    [
        ("memory=40%", 40_000_000, "40.00 MB"),
        ("latency=12ms", 12.0, "12.0 ms"),
        ("macs=50%", 3_000_000, "3 M"),
        ("frontend.params=2k", 2_000, "2 k"),
    ],
)
def test_a_term_of_a_budget_has_its_unit(term: str, value: float, text: str) -> None:
    assert formatting.amount(term, value) == text


def test_where_there_is_nothing_to_say_a_dash_says_so() -> None:
    assert formatting.megabytes(None) == "-"
    assert formatting.share(1.0, None) == "-"
    assert formatting.share(1.0, 0.0) == "-"
    assert formatting.metric_value("wer", None) == "-"
    assert formatting.share(1.0, 3.0) == "33.3%"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("wer", 0.1234, "12.3%"),
        ("accuracy_low", 0.5, "50.0%"),
        ("EER", 0.05, "5.0%"),
        ("loss", 0.12345, "0.1235"),
        ("clips", 96, "96"),
    ],
)
def test_fractions_are_percentages_and_other_values_have_four_digits(
    name: str, value: float, text: str
) -> None:
    assert formatting.metric_value(name, value) == text


def test_what_trainers_add_to_names_is_taken_off() -> None:
    assert formatting.metric_name("eval_wer") == "wer"
    assert formatting.metric_name("test_accuracy") == "accuracy"
    assert formatting.is_task_metric("loss")
    assert not formatting.is_task_metric("runtime")
