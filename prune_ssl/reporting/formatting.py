"""Owns how numbers are written in reports: units, digits, percentages."""

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))

PERCENT_METRICS = frozenset(
    {"accuracy", "cer", "cer_lm", "eer", "f1", "per", "precision", "recall", "uar", "wer", "wer_lm"}
)
"""Metrics that are fractions and are read as percentages."""

_BOOKKEEPING = ("runtime", "samples_per_second", "steps_per_second", "epoch", "model_preparation_time")


def quantity(value: float) -> str:
    """Return a count with four digits and a decimal prefix: 94371712 -> `94.37 M`."""
    for scale, prefix in _PREFIXES:
        if abs(value) >= scale:
            return f"{value / scale:.4g} {prefix}"
    return f"{value:.4g}"


def megabytes(count: int | None) -> str:
    """Return bytes as decimal megabytes, or a dash."""
    return "-" if count is None else f"{count / 1e6:.2f} MB"


def milliseconds(value: float) -> str:
    """Return a time with three significant digits below 100 ms and whole milliseconds above."""
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{decimals}f} ms"


def amount(term: str, value: float) -> str:
    """Return what a budget's term counts, with its unit: `memory=40%` bytes, `latency=12ms` milliseconds."""
    name = term.partition("=")[0]
    if name == "memory":
        return megabytes(round(value))
    return milliseconds(value) if name == "latency" else quantity(value)


def percent(fraction: float) -> str:
    """Return a fraction as a percentage with one decimal."""
    return f"{fraction:.1%}"


def share(part: float, whole: float | None) -> str:
    """Return `part` as a percentage of `whole`, or a dash where there is no whole."""
    return "-" if not whole else percent(part / whole)


def metric_name(name: str) -> str:
    """Return a metric's name without the prefixes that trainers add."""
    return name.removeprefix("eval_").removeprefix("test_")


def is_task_metric(name: str) -> bool:
    """Whether a value that a trainer returns says something about the task rather than about the run."""
    return name not in _BOOKKEEPING


def metric_value(name: str, value: float | None) -> str:
    """Return a metric's value: percentages where the metric is a fraction, else four digits."""
    if value is None:
        return "-"
    stem = name.lower().removesuffix("_low").removesuffix("_high")  # the ends of a confidence interval
    return percent(value) if stem in PERCENT_METRICS else f"{value:.4g}"
