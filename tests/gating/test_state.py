"""The state of gates: the names and the plain data that checkpoints have had from the first."""

import json

import torch

from prune_ssl import PruningConfig, attach_gates, trace
from tests.support.models import tiny_model

CONFIG = PruningConfig(budget="macs=60%", steps=20, seconds=1.0, round_to=1)
KEYS = ["learned", "loss_scale", "measured", "seed", "start", "steps", "stream", "tables", "task_pull"]


def trained(steps):
    """Gates after some steps of the documented loop."""
    torch.manual_seed(1)
    model = tiny_model(num_labels=2).train()
    gates = attach_gates(model, trace(model), CONFIG)
    optimizer = torch.optim.AdamW(gates.parameter_groups())
    for step in range(steps):
        loss = model(torch.randn(2, 4000), labels=torch.tensor([0, 1])).loss
        (loss + gates.penalty(step)).backward()
        optimizer.step()
        optimizer.zero_grad()
        gates.clamp_()
    return gates


def test_a_checkpoint_has_two_tensors_and_one_dict_of_plain_data():
    gates = trained(2)
    state = gates.state_dict()
    assert sorted(state) == ["_extra_state", "log_alpha", "multipliers"]
    assert [name for name, _ in gates.named_parameters()] == ["log_alpha", "multipliers"]
    assert sorted(state["_extra_state"]) == KEYS
    assert json.loads(json.dumps(state["_extra_state"])) == state["_extra_state"]


def test_gates_go_on_where_the_state_was_taken():
    gates = trained(4)
    _, other = trained(0), trained(0)
    other.load_state_dict(gates.state_dict())
    assert other.get_extra_state() == gates.get_extra_state()
    for each in (gates, other):
        each.draw(training=True)
    assert torch.equal(other.values("layer.0.ffn"), gates.values("layer.0.ffn"))
    assert torch.equal(other.penalty(4), gates.penalty(4))
    assert other.learned == gates.learned


def test_a_state_written_before_the_counts_of_learning_had_all_their_names_is_read():
    gates = trained(3)
    state = gates.state_dict()
    state["_extra_state"]["learned"] = {"drawn": 3, "asked": 3}
    gates.load_state_dict(state)
    assert (gates.learned.drawn, gates.learned.asked, gates.learned.stuck) == (3, 3, 0)
