"""Meant: guesses the meaning of a budget that breaks the grammar, as texts that may follow it."""

import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches
from fractions import Fraction

from prune_ssl.tracing.cost import SECTIONS

NUMBER = re.compile(r"(?P<sign>-?)(?P<number>(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d{1,3})?)\s*(?P<unit>%|[a-zµμ]*)")
METRICS = {
    **dict.fromkeys(("macs", "mac", "multadds", "computation", "compute"), "macs"),
    **dict.fromkeys(("flops", "flop"), "flops"),
    **dict.fromkeys(("params", "param", "parameters", "parameter", "weights", "size"), "params"),
    **dict.fromkeys(("memory", "mem", "ram", "disk", "bytes"), "memory"),
    **dict.fromkeys(("latency", "time", "speed", "milliseconds"), "latency"),
}
"""Word -> the quantity that it means. FLOPs are twice the MACs."""
OF_UNIT = {
    **dict.fromkeys(("%", "percent", "pct", "perc"), ("%", 1)),
    **{name: (name.upper(), 1) for name in ("k", "m", "g", "t", "b", "kb", "mb", "gb")},
    **{"bn": ("G", 1), "thousand": ("K", 1), "million": ("M", 1), "billion": ("G", 1)},
    **{"bytes": ("B", 1), "kib": ("B", 2**10), "mib": ("B", 2**20), "gib": ("B", 2**30)},
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "milliseconds"), ("ms", 1)),
    **dict.fromkeys(("s", "sec", "secs", "seconds", "second"), ("s", 1)),
    **dict.fromkeys(("us", "µs", "μs", "usec", "microseconds"), ("us", 1)),
}
"""Unit as people write it -> unit of the grammar, and the factor between them."""
TIMES, SIZES, COUNTS = ("us", "ms", "s"), ("B", "KB", "MB", "GB"), ("K", "M", "G", "T")


SEPARATORS = re.compile(r"\s*(?:[;&|+\n]|\band\b)\s*|(?<=[\w%])\s+(?=[a-z.]+\s*=)")


def likely_budgets(text: str, options: Iterable[str]) -> list[str]:
    """Return the likely meanings of a term of a budget: an option, several terms, or one.

    Args:
        text: the term as the user wrote it.
        options: names of options, such as `threads`.
    """
    left, equals, value = text[:200].partition("=")
    name = left.strip().lower()  # a word for a quantity, such as time, is no misspelt option
    option = [] if name in METRICS else get_close_matches(name, list(options), n=1, cutoff=0.7)
    if option and equals:
        return [f"{option[0]}={value.strip()}"]
    parts = [part.strip() for part in SEPARATORS.split(text[:200]) if part.strip()]
    if len(parts) > 1 and all("=" in part for part in parts):
        return [",".join(parts)]
    return _likely_terms(text)


def _likely_terms(term: str) -> list[str]:
    """Return the likely meanings of one term, such as `50%`, `MACs: 0.5` or `50% of macs`."""
    text = unicodedata.normalize("NFKC", term[:200]).lower().replace("_", "")
    text = re.sub(r"(?<=\d),(?=\d)", ".", text)
    place, device = re.subn(r"@\s*(\w+)[:\d]*", r"", text), re.search(r"@\s*([a-z]+)", text)
    found = list(NUMBER.finditer(re.sub(r"layer\.?\d+", " ", place[0])))
    if len(found) != 1:
        return []
    match = found[0]
    unit, more = _unit(match["unit"])
    words = re.findall(r"[a-z]+", place[0][: match.start()] + " " + place[0][match.end() :] + " " + more)
    metric, section = _nearest(words, METRICS), _nearest(words, SECTIONS)
    amount = Fraction(match["number"])
    where = f"@{'cuda' if device[1] in ('gpu', 'cuda') else 'cpu'}" if device else ""
    left = f"{section}." if section else ""
    kind = METRICS.get(metric, "")
    made = []
    for name, value, shown in _amounts(kind, amount, unit, bool(match["sign"])):
        if value > 0 and (shown != "%" or value <= 100):
            of = left if name != "memory" else ""
            at = where if name == "latency" else ""
            made.append(f"{of}{name}={plain(value)}{shown}{at}")
    return list(dict.fromkeys(made))


def _unit(written: str) -> tuple[str, str]:
    """Return the unit, and the quantity in one word with it, as in `gmacs` or `mparams`."""
    if written in OF_UNIT or not written:
        return written, ""
    for metric in sorted(METRICS, key=len, reverse=True):
        if written.endswith(metric) and written.removesuffix(metric) in ("", *OF_UNIT):
            return written.removesuffix(metric), metric
    return ("", written) if get_close_matches(written, METRICS, n=1, cutoff=0.75) else (written, "")


def _nearest(words: Iterable[str], known: Iterable[str]) -> str:
    for word in words:
        near = get_close_matches(word, list(known), n=1, cutoff=0.75)
        if near:
            return near[0]
    return ""


def _amounts(kind: str, amount: Fraction, unit: str, negative: bool) -> Iterable[tuple[str, Fraction, str]]:
    """Yield (quantity, value, unit) for each likely meaning of a number, the likeliest first."""
    if unit and unit not in OF_UNIT:
        return
    shown, factor = OF_UNIT.get(unit, ("", 1))
    if kind == "params" and shown in ("KB", "MB", "GB"):
        kind = "memory"
    value = amount * factor
    if shown == "%" or (not shown and 0 < amount < 1):
        name = "macs" if kind in ("", "flops") else kind
        percent = value if shown == "%" else 100 * value
        if negative:  # the user wrote the part to remove, a budget says the part to keep
            yield name, 100 - percent, "%"
        yield name, percent, "%"
        return
    if kind == "flops":
        kind, value = "macs", value / 2
    kinds = [kind] if kind else _kinds_of(shown)
    for name in kinds:
        if not shown and name in ("params", "macs") and amount < 1000:
            yield name, value, "%"
            yield name, value, "M"
        elif name == "memory":
            yield name, value, {"": "MB", "K": "KB", "M": "MB", "G": "GB"}.get(shown, shown)
        elif name == "latency":
            yield name, value, {"": "ms", "M": "ms"}.get(shown, shown)
        else:
            yield name, value, shown.removesuffix("B") if shown != "B" else "G"


def _kinds_of(unit: str) -> list[str]:
    if unit in TIMES:
        return ["latency"]
    if unit in SIZES:
        return ["memory"]
    return ["params", "macs"] if unit in COUNTS else ["macs"]


def plain(value: Fraction) -> str:
    """Return a fraction as a decimal without an exponent.

    If the denominator divides no power of ten, the decimal has four digits behind the point.

    >>> plain(Fraction(3, 8)), plain(Fraction(1, 3))
    ('0.375', '0.3333')
    """
    places = 0
    while places < 400 and (value * 10**places).denominator > 1:
        places += 1
    if places == 400:
        places = 4
    digits = f"{round(value * 10**places):0{places + 1}d}"
    if not places:
        return digits
    return f"{digits[:-places]}.{digits[-places:]}".rstrip("0").rstrip(".")
