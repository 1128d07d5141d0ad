"""Keeps as people write them, for tiny models of every family and of none: they are cut correctly or refused.

A cut model is compared with the gated model, which computes the same function (double precision), and its
predicted cost with the counted one.
"""

import copy
import math
import random
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from prune_ssl import Plan, PruningConfig, attach_gates, load_pretrained, resize, save_pretrained, trace
from prune_ssl.models import FAMILIES
from prune_ssl.selection import KINDS
from prune_ssl.tracing import PruningGraph

from .case import Case

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.models import FORMS, HEADS, batch, first_output, tiny_model

SAMPLES = 7000
TOLERANCE = 1e-9


class Layered(nn.Module):
    """A stranger: convolutions, residual layers, two readers."""

    def __init__(self, act: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv1d(1, 6, 400, 160), nn.GroupNorm(6, 6), nn.GELU(), nn.Conv1d(6, 8, 1)
        )
        self.ups = nn.ModuleList(nn.Linear(8, 11) for _ in range(2))
        self.downs = nn.ModuleList(nn.Linear(11, 8) for _ in range(2))
        self.norm, self.head, self.other = nn.LayerNorm(11), nn.Linear(8, 7), nn.Linear(7, 2)
        self.act = act

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        hidden = self.front(waveform[:, None]).transpose(1, 2)
        for up, down in zip(self.ups, self.downs, strict=True):
            hidden = hidden + down(self.norm(self.act(up(hidden))))
        return self.other(torch.relu(self.head(hidden)))


STRANGERS = {
    "relu": torch.relu,
    "softmax": lambda x: x.softmax(-1),
    "flip": lambda x: x.flip(-1),
    "halves": lambda x: x * x.mean(-1, keepdim=True),
}
MODELS = [*(f"{family}:{head}" for family, heads in HEADS.items() for head in heads[:2]), *FORMS, *STRANGERS]


@cache
def traced(name: str) -> tuple[nn.Module, PruningGraph]:
    """Return a tiny model in double precision, and its graph."""
    torch.manual_seed(len(name))
    model: nn.Module
    if name in STRANGERS:
        model = Layered(STRANGERS[name])
    else:
        family, _, head = name.partition(":")
        model = tiny_model(family, head or "ForCTC")
    model = model.double().eval()
    return model, trace(model)


def make(rng: random.Random, place: Path) -> Case:
    """Return one keep for one model."""
    name = rng.choice(MODELS)
    model, graph = traced(name)
    plan = rng.random() < 0.15
    keep: Any = {group: units(rng, graph, group) for group in some_groups(rng, graph)}
    if rng.random() < 0.55:
        keep = spoiled(rng, graph, keep)
    given: Any = keep
    if plan:
        given = Plan(keep, scales(rng, keep))
    saved = rng.random() < 0.08
    label = f"{name}: {shortened(given)}{' saved' if saved else ''}"
    return Case(label, lambda: act(model, graph, given, place if saved else None))


def some_groups(rng: random.Random, graph: PruningGraph) -> list[str]:
    """Return a few groups, or nearly all of some kinds."""
    names = list(graph.groups)
    if rng.random() < 0.5:
        return rng.sample(names, min(rng.randint(1, 5), len(names)))
    kinds = rng.sample(KINDS, rng.randint(1, len(KINDS)))
    return [name for name in names if graph.groups[name].kind in kinds and rng.random() < 0.8]


def units(rng: random.Random, graph: PruningGraph, name: str) -> Any:
    """Return units that may stay, in one of the forms that people have them in."""
    group = graph.groups[name]
    least = group.minimum if rng.random() < 0.3 else max(group.minimum, group.size // 3)
    chosen = rng.sample(range(group.size), rng.randint(least, group.size))
    form = rng.choice((list, list, list, tuple, sorted, set, np.array, torch.tensor, frozenset))
    if form in (np.array, torch.tensor):
        return form(chosen, dtype=np.int64 if form is np.array else torch.int64)
    return form(chosen)


def spoiled(rng: random.Random, graph: PruningGraph, keep: dict[str, Any]) -> Any:
    """Return a keep with one thing in it that may be wrong."""
    name = rng.choice(list(graph.groups))
    size = graph.groups[name].size
    good = list(range(size))
    wrong: list[Any] = [
        *(size // 2, size, float(size), None, True, "", "0", "012", str(good), b"\x00", math.nan, object()),
        *(
            [],
            [size],
            [-1],
            [0, 0],
            [*good, size],
            [*good[:-1], float(size - 1)],
            [str(unit) for unit in good],
        ),
        *([True] * size, [None], [[unit] for unit in good], [good], dict.fromkeys(good, 1.0), {"keep": good}),
        *(np.ones(size, bool), np.arange(size) * 1.0, np.array([good]), np.array(0), torch.ones(size) > 0),
        *(torch.arange(size).float(), torch.arange(size)[None], range(size + 1), range(-1, size), range(0)),
        *([10**40], [-(10**40)], [0.5], [1e308], [math.inf], [1j], [np.nan], [b"0"], (unit for unit in good)),
    ]
    whole: list[Any] = [
        None,
        [],
        "",
        name,
        {name},
        [name],
        0.5,
        {0: good},
        {None: good},
        ((name, good),),
        {(): []},
    ]
    misspelt = [
        name.upper(),
        name + ".",
        name.replace(".", "/"),
        name[:-1],
        "",
        " ",
        f" {name}",
        name.split(".")[0],
    ]
    which = rng.random()
    if which < 0.7:
        return keep | {name: rng.choice(wrong)}
    if which < 0.9:
        return keep | {rng.choice(misspelt): good}
    return rng.choice(whole)


def scales(rng: random.Random, keep: Any) -> Any:
    """Return scales for some groups of a keep, mostly as many as there are units."""
    if not isinstance(keep, dict) or rng.random() < 0.1:
        return rng.choice([{}, {"layer.0.ffn": (1.0,)}, {"nothing": (1.0,)}])
    made = {}
    for name, kept in keep.items():
        if not isinstance(name, str) or (name.count(".") == 1 and name.startswith("layer.")):
            continue  # a layer is there or not
        try:
            count = len(kept)
        except TypeError:
            continue
        odd = rng.random() < 0.08
        made[name] = tuple(rng.uniform(0.2, 1.5) for _ in range(count + odd))
        if rng.random() < 0.03 and count:
            made[name] = (rng.choice([math.nan, math.inf]), *made[name][1:])
    return made


def act(model: nn.Module, graph: PruningGraph, given: Any, place: Path | None) -> None:
    """Cut, and hold the result to the gated model and to the predicted cost."""
    keep = given.keep if isinstance(given, Plan) else given
    if isinstance(keep, dict):  # a generator is used up by reading it
        keep = {name: list(each) if hasattr(each, "send") else each for name, each in keep.items()}
    plan = Plan(keep, given.scales) if isinstance(given, Plan) else keep
    small = resize(model, graph, plan)
    checked = graph.check(keep)
    if isinstance(plan, Plan):
        order = {name: np.argsort(list(plan.keep[name])) for name in plan.scales if name in checked}
        sorted_scales = {
            name: tuple(np.asarray(values)[order[name]]) if name in order else values
            for name, values in plan.scales.items()
        }
        plan = Plan(checked, sorted_scales)
    else:
        plan = checked
    assert sum(parameter.numel() for parameter in small.parameters()) == graph.cost(checked).params
    torch.manual_seed(0)
    inputs = given_inputs(model)
    gated = copy.deepcopy(model)
    gates = attach_gates(gated, graph, PruningConfig(budget="macs=100%", round_to=1, kinds=KINDS)).double()
    gates.hold(plan)
    wanted, found = output(gated, inputs), output(small, inputs)
    if "hidden" in checked and not graph.backbone and wanted.shape != found.shape:
        width = wanted.shape[-1] // graph.groups["hidden"].size
        wanted = wanted.unflatten(-1, (-1, width))[..., list(checked["hidden"]), :].flatten(-2)
    difference = float((wanted - found).abs().max() / wanted.abs().max().clamp_min(1e-12))
    assert difference < TOLERANCE, f"masked and cut differ by {difference:.1e}"
    if place is not None and graph.family in FAMILIES:
        for module in small.modules():  # transformers' rotary table is no buffer: it would stay in double
            if hasattr(module, "cached_rotary_positional_embedding"):
                module.cached_sequence_length = None
        save_pretrained(small.float(), place / "small", plan=plan)
        loaded = load_pretrained(place / "small")
        inputs = {name: each.float() if each.is_floating_point() else each for name, each in inputs.items()}
        assert torch.equal(output(loaded, inputs), output(small, inputs)), "saved and loaded differ"


def given_inputs(model: nn.Module) -> dict[str, torch.Tensor]:
    if isinstance(model, Layered):
        return {"waveform": torch.randn(2, SAMPLES, dtype=torch.float64)}
    return batch(model, SAMPLES, padded=True)


def output(model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    if isinstance(model, Layered):
        with torch.no_grad():
            return model(**inputs)  # type: ignore[no-any-return]
    return first_output(model, **inputs)


def shortened(given: Any) -> str:
    text = " ".join(repr(given).split())
    return text if len(text) < 200 else text[:197] + "..."
