"""Sweeps of tiny recipes: plans without runs, and the models of finished sweeps."""

import json

from safetensors.torch import load_file

from prune_ssl.recipes import load_recipe
from prune_ssl.sweeping import lay_out, trials


def plan_of(recipe, out, budgets=("80%", "60%"), methods=("gates",), seeds=(0,)):
    return lay_out(load_recipe(recipe), trials(budgets, methods, seeds), out)


def products_of(out):
    """The weights and the figures of every model of a sweep, by the name of its trial."""
    found = {}
    for report in sorted(out.glob("*/report.json")):
        results = json.loads(report.read_text())["results"]
        found[report.parent.name] = (results, load_file(report.parent / "model" / "model.safetensors"))
    return found


def require_equal(one, other):
    """Both sweeps have the same trials, each with the same figures and, bit for bit, the same weights."""
    assert one.keys() == other.keys()
    for name, (results, weights) in one.items():
        assert results == other[name][0], name
        assert weights.keys() == other[name][1].keys()
        assert all((value == other[name][1][key]).all() for key, value in weights.items()), name
