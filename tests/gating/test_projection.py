"""The cut of learned gates: the likeliest units, within every term of the budget."""

import pytest
import torch

from prune_ssl import PruningConfig, attach_gates, trace
from tests.support.models import tiny_model


@pytest.mark.parametrize("budget", ["frontend.params=60%,encoder.params=60%", "encoder.macs=60%,macs=60%"])
def test_under_budgets_of_sections_the_likeliest_units_are_kept(budget):
    model = tiny_model()
    gates = attach_gates(model, trace(model), PruningConfig(budget=budget, round_to=1, steps=10))
    with torch.no_grad():
        for span in gates.spans.values():
            gates.log_alpha[span] = torch.linspace(
                -2, 2, span.stop - span.start
            )  # the last are the likeliest
    keep = gates.finalize().keep
    assert {gates.groups[name].kind for name in keep} == {"conv", "heads", "ffn"}
    for name, units in keep.items():
        assert units == tuple(range(gates.groups[name].size - len(units), gates.groups[name].size))
