"""The solver against the enumerated optimum, and its exactness over 200 random models and budgets."""

from functools import cache
from itertools import product

import numpy as np
import pytest
import torch

from prune_ssl import PruningConfig, attach_gates, trace
from prune_ssl.errors import BudgetError
from prune_ssl.selection import Bounds, allowed_widths, resolve, solve
from prune_ssl.selection.steps import worth
from tests.support.keeps import random_scores
from tests.support.models import CASES, tiny_model
from tests.support.slow import slow_but

TEXTS = (
    "macs={}%",
    "params={}%",
    "macs={}%,params={more}%",
    "frontend.macs={more}%,params={}%",
    "frontend.params={}%,encoder.params={more}%",
    "macs={}%,encoder.macs={more}%,frontend.params=70%",
)


@pytest.fixture(scope="module")
def small_graph():
    torch.manual_seed(0)
    convs = {"conv_dim": (12, 10, 8), "conv_kernel": (10, 8, 4), "conv_stride": (5, 4, 2)}
    return trace(tiny_model(**convs, num_feat_extract_layers=3, num_hidden_layers=2))


def best_by_enumeration(graph, limits, widths, values):
    """Return the greatest total worth that meets the limits: conv widths in full, then each of the rest."""
    names = list(graph.groups)
    best = 0.0
    for indices in product(*[range(len(widths[name])) for name in names]):
        total = sum(values[name][index] for name, index in zip(names, indices, strict=True))
        if total > best:
            found = {name: widths[name][index] for name, index in zip(names, indices, strict=True)}
            if all(limit.cost.value(found) <= limit.maximum for limit in limits):
                best = total
    return best


@pytest.mark.slow
def test_the_gap_to_the_enumerated_optimum_is_small(small_graph):
    graph, gaps = small_graph, []
    widths = allowed_widths(graph, 4)
    for seed in range(60):
        generator = np.random.default_rng(seed)
        scores = random_scores(graph, generator, ("priced", "scaled", "plain")[seed % 3])
        share = int(generator.integers(45, 90))
        text = TEXTS[seed % len(TEXTS)].format(share, more=min(share + 10, 100))
        limits = resolve(text, graph, widths, 1.0)
        values = {name: worth(group, scores[name], widths[name]) for name, group in graph.groups.items()}
        best = best_by_enumeration(graph, limits, widths, values)
        found = graph.widths(solve(graph, scores, Bounds(limits, widths)))
        reached = sum(values[name][widths[name].index(width)] for name, width in found.items())
        full = sum(each[-1] for each in values.values())
        assert reached <= best * (1 + 1e-12)
        gaps.append((best - reached) / full)
    print(
        f"optimal in {np.mean(np.array(gaps) < 1e-12):.0%}, mean gap {np.mean(gaps):.2e}, max {max(gaps):.2e}"
    )
    assert np.mean(np.array(gaps) < 1e-12) >= 0.95
    assert np.mean(gaps) < 1e-4
    assert max(gaps) < 0.003


def test_improving_never_loses_worth(small_graph):
    graph, widths, gained = small_graph, allowed_widths(small_graph, 2), []
    for seed in range(20):
        scores = random_scores(graph, np.random.default_rng(seed), "plain")
        limits = resolve("macs=55%,params=60%", graph, widths, 1.0)
        totals = []
        for improve in (False, True):
            found = graph.widths(solve(graph, scores, Bounds(limits, widths), improve=improve))
            values = {name: worth(group, scores[name], widths[name]) for name, group in graph.groups.items()}
            totals.append(sum(values[name][widths[name].index(w)] for name, w in found.items()))
        gained.append(totals[1] - totals[0])
    assert min(gained) >= 0
    assert max(gained) > 0


KINDS_TRIED = (
    ("conv", "heads", "ffn"),
    ("heads", "ffn"),
    ("conv",),
    ("ffn", "conv"),
    ("block", "layer"),
    ("conv", "heads", "ffn", "hidden", "block", "layer"),
)


@cache
def random_model(seed):
    """Return a random model and its graph."""
    generator = np.random.default_rng(seed)
    family, head, norm = CASES[int(generator.integers(len(CASES)))]
    heads = int(generator.choice([1, 2, 4]))
    model = tiny_model(
        family,
        head,
        norm,
        num_attention_heads=heads,
        intermediate_size=int(generator.integers(3, 40)),
        conv_dim=tuple(int(width) for width in generator.integers(4, 24, 7)),
        num_hidden_layers=int(generator.integers(1, 5)),
    )
    return model, trace(model)


def triple(seed):
    """Return a random (model, graph, budget text, rounding, kinds), of 25 models."""
    generator = np.random.default_rng(seed)
    share = int(generator.integers(20, 100))
    text = str(generator.choice(TEXTS)).format(share, more=int(generator.integers(share, 101)))
    kinds = KINDS_TRIED[int(generator.integers(len(KINDS_TRIED)))]
    return *random_model(seed % 25), text, int(generator.choice([1, 2, 3, 4, 8])), kinds


@pytest.mark.parametrize("block", slow_but((0, 5), range(10)))
def test_200_random_triples_are_never_over_budget_and_within_one_step_of_it(block):
    met = 0
    for seed in range(20 * block, 20 * block + 20):
        model, graph, text, round_to, kinds = triple(seed)
        widths = allowed_widths(graph, round_to, kinds)
        seconds = float(1 + seed % 10)
        try:
            limits = resolve(text, graph, widths, seconds)
        except BudgetError as error:
            check_refusal(error, text, graph, widths, seconds)
            continue
        config = PruningConfig(budget=text, kinds=kinds, round_to=round_to, seconds=seconds)
        gates = attach_gates(model, graph, config)
        gates.detach()
        with torch.no_grad():
            gates.log_alpha.normal_(0, 3, generator=torch.Generator().manual_seed(seed))
        scores = random_scores(graph, np.random.default_rng(seed), "plain")
        for keep in (gates.finalize().keep, solve(graph, scores, Bounds(limits, widths))):
            found = graph.widths(keep)
            assert all(found[name] in widths[name] for name in found)
            assert all(limit.cost.value(found) <= limit.maximum for limit in limits)
            for name, options in widths.items():
                above = [width for width in options if width > found[name]]
                raised = found | {name: above[0]} if above else None
                assert raised is None or any(limit.cost.value(raised) > limit.maximum for limit in limits)
        met += 1
    assert met >= 5


def check_refusal(error, text, graph, widths, seconds):
    """A refusal is right: the floor is above a limit, and the message prints the floor."""
    floor = {name: options[0] for name, options in widths.items()}
    found = []
    for part in text.split(","):
        name, _, percent = part.partition("=")
        section, _, metric = name.rpartition(".")
        polynomial = graph.polynomial(metric, section or None, seconds)
        least, dense = polynomial.value(floor), polynomial.value(graph.widths())
        if least > int(float(percent.strip("%")) / 100 * dense):
            found.append(f"Reachable: {least:,} to {dense:,}")
        elif not dense:
            found.append(f"has no {name}")
    assert found
    assert any(each in str(error) for each in found)
