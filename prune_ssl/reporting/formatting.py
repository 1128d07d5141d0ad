"""Format numbers for reports: units, digits and percentages."""

from datetime import datetime

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))

PERCENT_METRICS = frozenset(
    {"accuracy", "cer", "cer_lm", "eer", "f1", "per", "precision", "recall", "uar", "wer", "wer_lm"}
)
"""Metrics that are fractions and are shown as percentages."""

STAGES = {
    "dense": "dense",
    "control": "dense, trained as long",
    "cut": "after cutting",
    "recovered": "after recovery",
    "student": "before distillation",
    "distilled": "after distillation",
    "fine_tuned": "after fine-tuning",
}
"""The title of each stage of the results, in order."""

_BOOKKEEPING = ("runtime", "samples_per_second", "steps_per_second", "epoch", "model_preparation_time")


def date_in_words(created: str) -> str:
    """Return a date in ISO 8601 as it is written in a sentence, or the text itself if it is no date.

    >>> date_in_words("2026-11-27T15:57:48+00:00")
    '27 November 2026, 15:57 UTC'
    """
    try:
        when = datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{when.day} {when:%B %Y, %H:%M} {when.tzname() or ''}".strip()


def quantity(value: float) -> str:
    """Return a count with four digits and a decimal prefix.

    >>> quantity(94_371_712)
    '94.37 M'
    """
    for scale, prefix in _PREFIXES:
        if abs(value) >= scale:
            return f"{value / scale:.4g} {prefix}"
    return f"{value:.4g}"


def megabytes(count: int | None) -> str:
    """Return bytes as decimal megabytes, or a dash."""
    return "-" if count is None else f"{count / 1e6:.2f} MB"


def milliseconds(value: float) -> str:
    """Return a time in milliseconds with three significant digits, or as a whole number from 100 ms.

    >>> milliseconds(12.345), milliseconds(123.4)
    ('12.3 ms', '123 ms')
    """
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{decimals}f} ms"


def amount(term: str, value: float) -> str:
    """Return the amount of a budget's term with its unit: bytes for `memory`, milliseconds for `latency`."""
    name = term.partition("=")[0]
    if name == "memory":
        return megabytes(round(value))
    return milliseconds(value) if name == "latency" else quantity(value)


def percent(fraction: float) -> str:
    """Return a fraction as a percentage with one decimal."""
    return f"{fraction:.1%}"


def share(part: float, whole: float | None) -> str:
    """Return `part` as a percentage of `whole`, or a dash if there is no whole."""
    return "-" if not whole else percent(part / whole)


def kept(part: float, whole: float) -> str:
    """Return a count, with its share of `whole` in brackets.

    >>> kept(413_037, 919_485)
    '413 k (44.9%)'
    """
    return f"{quantity(part)} ({share(part, whole)})"


def metric_name(name: str) -> str:
    """Return a metric's name without the prefixes that trainers add."""
    return name.removeprefix("eval_").removeprefix("test_")


def metric_title(name: str) -> str:
    """Return a metric's name as it is written in a sentence.

    >>> metric_title("wer"), metric_title("accuracy")
    ('WER', 'accuracy')
    """
    return name.replace("_", " ") if len(name) > 3 else name.upper()


def is_task_metric(name: str) -> bool:
    """Return whether a value from a trainer is about the task, not about the run (such as its runtime)."""
    return name not in _BOOKKEEPING


def points(name: str, difference: float) -> str:
    """Return the difference of a metric with its sign: in points if the metric is shown as a percentage.

    >>> points("wer", -0.012), points("loss", 0.5)
    ('-1.2 points', '+0.5')
    """
    if name.lower() in PERCENT_METRICS:
        return f"{100 * difference:+.1f} points"
    return f"{difference:+.4g}"


def ends(name: str, low: float, high: float) -> str:
    """Return an interval that stands behind a value in a narrow table: without the unit.

    >>> ends("wer", 0.609, 0.771)
    '60.9 to 77.1'
    """
    return " to ".join(metric_value(name, end).removesuffix("%") for end in (low, high))


def points_with_ends(name: str, difference: float, low: float, high: float) -> str:
    """Return the difference of a metric with the ends of its interval.

    >>> points_with_ends("wer", -0.012, -0.049, 0.035)
    '-1.2 points (-4.9 to +3.5)'
    """
    between = " to ".join(points(name, end).removesuffix(" points") for end in (low, high))
    return f"{points(name, difference)} ({between})"


def metric_value(name: str, value: float | None) -> str:
    """Return a metric's value as a percentage if it is a fraction, else with four digits."""
    if value is None:
        return "-"
    stem = name.lower().removesuffix("_low").removesuffix("_high")  # ends of a confidence interval
    return percent(value) if stem in PERCENT_METRICS else f"{value:.4g}"
