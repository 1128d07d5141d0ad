"""Budgets as people type them, most of them wrong. Correct ones are met on a tiny model."""

import random
import string
from decimal import Decimal
from functools import cache
from pathlib import Path

from torch import nn
from transformers import HubertConfig, HubertModel

from fuzzing.case import Case
from prune_ssl import PruningGraph, resize, select, trace
from prune_ssl.errors import BudgetError
from prune_ssl.selection import Budget, allowed_widths, parse_budget, resolve
from prune_ssl.tracing.cost import SECTIONS

UNITS = {
    "params": {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12},
    "macs": {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12},
    "memory": {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9},
    "latency": {"us": 10**3, "ms": 10**6, "s": 10**9},
}
ODD_NUMBERS = (
    *(
        "0",
        "0.0",
        "00",
        "1",
        "-5",
        "+50",
        "120",
        "100.0001",
        "1e9",
        "5e-1",
        ".5",
        "5.",
        "1,5",
        "1_000",
        "½",
        "५०",
    ),
    *(
        "nan",
        "inf",
        "-inf",
        "NaN",
        "None",
        "fifty",
        "0x10",
        "1/2",
        "50%%",
        "",
        " ",
        "9" * 309,
        "0." + "0" * 330 + "1",
    ),
    *("1" * 5_000, "1e400", "--1", "5 0", "١٢"),
)
ODD_WORDS = (
    *(
        "MACs",
        "mac",
        "MACS",
        "flops",
        "FLOPs",
        "parameters",
        "size",
        "mem",
        "time",
        "keep",
        "macs.encoder",
        "",
        "%",
    ),
    *(
        "hidden",
        "layer.0.ffn",
        "brain.macs",
        "encoder.latency",
        "frontend",
        "macs.",
        ".macs",
        "mäcs",
        "macs\x00",
    ),
)
SHELL = (
    "'{}'",
    '"{}"',
    " {} ",
    "{};",
    "{},",
    ",{}",
    "{}\n",
    "--budget={}",
    "budget={}",
    "{}#x",
    "${}",
    "{{{}}}",
)


@cache
def tiny() -> tuple[nn.Module, PruningGraph]:
    """Return a small model and its graph, made once."""
    config = HubertConfig(
        conv_dim=[12, 10, 8],
        conv_kernel=[10, 8, 4],
        conv_stride=[5, 4, 2],
        num_feat_extract_layers=3,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=24,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    model = HubertModel(config).eval()
    return model, trace(model)


def make(rng: random.Random, place: Path) -> Case:
    """Return a budget that is right, nearly right, or anything."""
    del place
    kind = rng.random()
    if kind < 0.35:
        return _right(rng)
    if kind < 0.9:
        text = _mutated(rng, ",".join(_term(rng)[0] for _ in range(rng.choice((1, 1, 1, 2, 3)))))
    else:
        alphabet = rng.choice(
            (string.printable, "macs=params%.,@0123456789", "".join(map(chr, range(32, 1200))))
        )
        text = "".join(rng.choices(alphabet, k=rng.choice((0, 1, 5, 20, 3000))))
    return Case(f"budget {text[:120]!r}", lambda: _check(text))


def _right(rng: random.Random) -> Case:
    terms, wanted, names = [], [], set()
    for _ in range(rng.choice((1, 1, 2, 3))):
        text, name, amount = _term(rng)
        if name not in names:
            names.add(name)
            terms.append(text)
            wanted.append((name, amount))
    text = ",".join(terms)

    def act() -> None:
        found = [(each.name, each.fraction or each.absolute) for each in parse_budget(text)]
        assert found == wanted, f"read as {found}, wanted {wanted}"
        _check(text)

    return Case(f"right budget {text!r}", act)


def _term(rng: random.Random) -> tuple[str, str, float | int]:
    """Return a term that is right, the name that it must have, and its amount."""
    metric = rng.choice(sorted(UNITS))
    section = f"{rng.choice(SECTIONS)}." if metric in ("params", "macs") and rng.random() < 0.3 else ""
    space = " " * (rng.random() < 0.1)
    if rng.random() < 0.6:
        number = f"{rng.uniform(0.01, 100):.{rng.choice((0, 0, 1, 2, 9))}f}"
        number = "7" if float(number) == 0 else number
        unit, amount = "%", float(Decimal(number) / 100)
    else:
        unit = rng.choice(sorted(UNITS[metric]))
        least = 1000 if metric in ("params", "macs") and not unit else 1
        number = (
            str(rng.randint(least, rng.choice((least * 10, 50_000)))) if rng.random() < 0.7 else f"{least}.5"
        )
        amount = round(Decimal(number) * UNITS[metric][unit])
    text = f"{section}{metric}{space}={space}{number}{space}{unit}"
    if metric == "latency":
        text += rng.choice(("", "@cpu", "@cuda")) + rng.choice(("", ",threads=2", ",seconds=0.5,threads=1"))
    if metric in ("latency", "memory"):
        text += rng.choice(("", "", ",dtype=float16", ",dtype=bfloat16"))
    return text, section + metric, amount


def _mutated(rng: random.Random, text: str) -> str:
    for _ in range(rng.choice((1, 1, 2))):
        name, equals, value = text.partition("=")
        at = rng.randrange(len(text) + 1)
        text = rng.choice(
            (
                value,
                f"{name}{rng.choice((':', ' ', '==', '<=', '=>', ' of ', '~'))}{value}",
                f"{name}={rng.choice(ODD_NUMBERS)}{rng.choice(('', '%', 'M', 'ms', 'MB', 'x'))}",
                f"{rng.choice(ODD_WORDS)}{equals}{value}",
                rng.choice(SHELL).format(text),
                text.swapcase(),
                text[:at] + rng.choice(string.printable) + text[at:],
                text[:at] + text[at + 1 :],
                f"{text}{rng.choice((',', ';', ' and ', ' ', '&', '@', ',,'))}{text}",
                f"{text},{rng.choice(('threads', 'seconds', 'dtype', 'thread'))}={rng.choice(ODD_NUMBERS)}",
                f"{value} {name}",
            )
        )
    return text


def _check(text: str) -> None:
    """Read a budget, print it, read it again; then meet it on the tiny model and look at what that costs."""
    budget = parse_budget(text)
    printed = ",".join(map(str, budget))
    assert parse_budget(printed) == budget, f"printed as {printed}"
    assert all(0 < each.amount < float("inf") for each in budget)
    if all(each.metric != "latency" for each in budget):  # these need a table of this machine
        _meet(budget)


def _meet(budget: Budget) -> None:
    model, graph = tiny()
    step = 4
    keep = select(model, graph, budget, round_to=step, seconds=1.0)
    widths = allowed_widths(graph, step)
    limits = resolve(budget, graph, widths, 1.0)
    found = graph.widths(keep)
    costs = _costs(graph, budget, keep)
    for constraint, cost, whole in zip(budget, costs, _costs(graph, budget, {}), strict=True):
        asked = constraint.absolute if constraint.fraction is None else constraint.fraction * whole
        assert cost <= asked, f"{constraint}: kept {cost} of {whole}"
    for name, options in widths.items():
        wider = next((width for width in options if width > found[name]), None)
        if wider is not None and _fits(limits, {**found, name: wider}):
            raise AssertionError(f"{name} could have {wider} units, has {found[name]}")
    if keep:
        resize(model, graph, keep)


def _costs(graph: PruningGraph, budget: Budget, keep: dict[str, tuple[int, ...]]) -> list[int]:
    """Return what each constraint counts, from the graph's own count, not from the limits' functions."""
    cost, found = graph.cost(keep, seconds=1.0), []
    for each in budget:
        part = cost.by_section.get(each.section) if each.section else cost
        if each.metric == "memory":
            found.append(cost.params * {"float64": 8, "float32": 4}.get(each.at.dtype, 2))
        elif part is None:
            raise BudgetError(f"{each}: the model has no {each.section}")
        else:
            found.append(part.macs if each.metric == "macs" else part.params)
    return found


def _fits(limits: tuple, widths: dict[str, int]) -> bool:
    return all(limit.cost.value(widths) <= limit.maximum for limit in limits)
