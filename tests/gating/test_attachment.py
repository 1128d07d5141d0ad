"""Attachments: gates go onto a model, and off it again, without a trace."""

import copy

import pytest
import torch
from torch import nn

from prune_ssl import trace
from prune_ssl.errors import ModelError
from prune_ssl.gating import UnitGates, attach
from tests.support.models import first_output, tiny_model


@pytest.fixture
def gated():
    """A model and gates that hold half of the neurons of one layer, attached to nothing yet."""
    model = tiny_model()
    graph = trace(model)
    gates = UnitGates(graph, graph.groups)
    gates.hold({"layer.0.ffn": range(12)})
    return model, gates


def test_a_block_with_gates_masks_and_leaves_the_model_as_it_was(gated):
    model, gates = gated
    audio = torch.randn(1, 8000)
    dense, classes = first_output(model, audio), [type(module) for module in model.modules()]
    with attach(model, gates) as attachment:
        assert gates.attachment is attachment
        masked = first_output(model, audio)
    assert not torch.equal(masked, dense)
    assert torch.equal(first_output(model, audio), dense)
    assert [type(module) for module in model.modules()] == classes


def test_gates_go_from_one_model_to_another(gated):
    model, gates = gated
    other, audio = copy.deepcopy(model), torch.randn(1, 8000)
    dense = first_output(model, audio)
    attach(model, gates)
    masked = first_output(model, audio)
    attach(other, gates)
    assert torch.equal(first_output(model, audio), dense)
    assert torch.equal(first_output(other, audio), masked)
    gates.detach()
    assert gates.attachment is None
    assert torch.equal(first_output(other, audio), dense)


def test_an_error_in_the_block_takes_the_gates_off_too(gated):
    model, gates = gated
    audio = torch.randn(1, 8000)
    dense = first_output(model, audio)
    with pytest.raises(RuntimeError, match="of the block"), attach(model, gates):
        raise RuntimeError("of the block")
    assert torch.equal(first_output(model, audio), dense)


class OddLinear(nn.Linear):
    """A Linear of a class that no gate knows."""


def test_a_module_that_cannot_be_gated_leaves_no_half_attachment(gated):
    model, gates = gated
    last = model.get_submodule(gates.graph.backbone).encoder.layers[-1].feed_forward.output_dense
    last.__class__ = OddLinear
    classes = [type(module) for module in model.modules()]
    with pytest.raises(ModelError, match="is a OddLinear"):
        attach(model, gates)
    assert [type(module) for module in model.modules()] == classes
    assert gates.attachment is None


def test_an_attachment_knows_the_mode_of_its_backbone(gated):
    model, gates = gated
    attachment = attach(model, gates)
    assert attachment.training is False
    model.train()
    assert attachment.training is True
