"""Random keeps and scores, and the two sides of the first law: the masked model and the cut one."""

import numpy as np
import torch

from prune_ssl import Plan, PruningConfig, attach_gates, resize
from prune_ssl.models.registry import FAMILIES
from prune_ssl.selection import KINDS
from tests.support.models import first_output

EXTREMES = ("random", "no heads", "no ffn", "one channel", "almost nothing", "no blocks", "one layer")


UNITS = ("conv", "heads", "ffn")


ALL = KINDS


def random_keep(graph, seed, extreme="random", kinds=UNITS):
    generator = np.random.default_rng(seed)
    keep = {}
    layers = [name for name, group in graph.groups.items() if group.kind == "layer"]
    for name, group in graph.groups.items():
        if group.kind not in kinds:
            continue
        count = int(generator.integers(group.minimum, group.size + 1))
        emptied = {"no heads": "heads", "no ffn": "ffn", "one channel": "conv", "no blocks": "block"}
        if emptied.get(extreme) == group.kind or extreme == "almost nothing":
            count = group.minimum
        if extreme == "one layer" and group.kind == "layer":
            count = int(name == layers[seed % len(layers)])
        keep[name] = sorted(generator.choice(group.size, count, replace=False).tolist())
    return keep


def masked_and_resized(model, graph, plan, inputs):
    config = PruningConfig(budget="macs=100%", round_to=1, kinds=ALL)
    gates = attach_gates(model, graph, config).to(model.dtype)
    gates.hold(plan)
    masked = first_output(model, **inputs)
    gates.detach()
    return kept_part(masked, model, graph, plan), first_output(resize(model, graph, plan), **inputs)


def kept_part(output, model, graph, plan):
    """Of a bare model's output, the dimensions that stay."""
    keep = plan.keep if isinstance(plan, Plan) else plan
    if "hidden" not in keep or FAMILIES[graph.family].upsampling or graph.backbone:
        return output
    width = output.shape[-1] // graph.groups["hidden"].size
    return output[..., [unit * width + d for unit in keep["hidden"] for d in range(width)]]


def random_scores(graph, generator, kind):
    polynomial, dense = graph.polynomial("macs", seconds=1.0), graph.widths()
    scores = {}
    for name, group in graph.groups.items():
        values = torch.tensor(generator.random(group.size) ** 2)
        scale = {"priced": polynomial.marginal(name, dense), "scaled": generator.random(), "plain": 1.0}[kind]
        scores[name] = values * scale
    return scores
