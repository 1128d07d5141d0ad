"""The distribution of gates: what is drawn, what is expected, what is kept."""

import pytest
import torch

from prune_ssl import PruningConfig
from prune_ssl.gating import hard_concrete
from tests.support.gating import gated
from tests.support.models import first_output, tiny_model


def test_a_new_sample_is_drawn_each_training_forward_and_none_in_evaluation():
    model = tiny_model().train()
    gates = gated(model)
    audio = torch.randn(1, 8000)
    model(audio)
    first = gates.values("conv.3").clone()
    model(audio)
    assert not torch.equal(gates.values("conv.3"), first)
    model.eval()
    assert torch.equal(first_output(model, audio), first_output(model, audio))


def test_the_deterministic_mask_keeps_the_expected_number_of_units():
    model = tiny_model()
    gates = gated(model)
    with torch.no_grad():
        gates.log_alpha.normal_(0, 3)
    mask, widths = gates.deterministic(), gates.expected_widths()
    for name, span in gates.spans.items():
        assert int((mask[span] > 0).sum()) == max(
            round(float(widths[name].detach())), gates.groups[name].minimum
        )


@pytest.mark.parametrize("name", ["macs", "params"])
def test_closed_gates_cost_what_the_minimums_cost_and_open_gates_cost_everything(name):
    config = PruningConfig(budget=f"{name}=60%", steps=100, round_to=1)
    gates = gated(tiny_model().double(), config).double()
    graph = gates.graph
    minimums = {each: tuple(range(group.minimum)) for each, group in gates.groups.items()}
    for bound, keep in ((-hard_concrete.CLAMP, minimums), (hard_concrete.CLAMP, {})):
        with torch.no_grad():
            gates.log_alpha.fill_(bound)
        wanted = getattr(graph.cost(keep), name) / getattr(graph.cost(), name)
        assert float(gates.expected().detach()[0]) == pytest.approx(wanted, rel=1e-9)


def test_closed_gates_open_no_unit_that_others_could_have():
    gates = gated(tiny_model())
    with torch.no_grad():
        gates.log_alpha.fill_(-hard_concrete.CLAMP)
        gates.log_alpha[gates.spans["layer.1.ffn"]] = hard_concrete.CLAMP
    mask = gates.deterministic()
    for name, span in gates.spans.items():
        group = gates.groups[name]
        assert int((mask[span] > 0).sum()) == (group.size if name == "layer.1.ffn" else group.minimum)


def test_the_expected_cost_of_certain_gates_is_the_exact_cost():
    model = tiny_model().double()
    gates = gated(model).double()
    keep = {"conv.2": range(4), "layer.0.heads": [1], "layer.2.ffn": []}
    with torch.no_grad():
        gates.log_alpha.fill_(40)
        for name, units in keep.items():
            closed = [unit for unit in range(gates.groups[name].size) if unit not in units]
            gates.log_alpha[gates.spans[name]] = gates.log_alpha[gates.spans[name]].index_fill(
                0, torch.tensor(closed), -40.0
            )
    wanted = gates.graph.cost(keep).macs / gates.graph.cost().macs
    assert float(gates.expected().detach()[0]) == pytest.approx(wanted, rel=1e-9)
