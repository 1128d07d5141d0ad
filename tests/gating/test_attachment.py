"""Attachments: gates go onto a model, and off it again, without a trace."""

import copy

import pytest
import torch
from torch import nn

from prune_ssl import PruningConfig, attach_gates, trace
from prune_ssl.errors import BudgetError, ModelError
from prune_ssl.gating import UnitGates, attach
from tests.support.gating import CONFIG, gated
from tests.support.models import first_output, relative_difference, tiny_model


@pytest.fixture
def loose():
    """A model and gates that hold half of the neurons of one layer, attached to nothing yet."""
    model = tiny_model()
    graph = trace(model)
    gates = UnitGates(graph, graph.groups)
    gates.hold({"layer.0.ffn": range(12)})
    return model, gates


def test_a_block_with_gates_masks_and_leaves_the_model_as_it_was(loose):
    model, gates = loose
    audio = torch.randn(1, 8000)
    dense, classes = first_output(model, audio), [type(module) for module in model.modules()]
    with attach(model, gates) as attachment:
        assert gates.attachment is attachment
        masked = first_output(model, audio)
    assert not torch.equal(masked, dense)
    assert torch.equal(first_output(model, audio), dense)
    assert [type(module) for module in model.modules()] == classes


def test_gates_go_from_one_model_to_another(loose):
    model, gates = loose
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


def test_an_error_in_the_block_takes_the_gates_off_too(loose):
    model, gates = loose
    audio = torch.randn(1, 8000)
    dense = first_output(model, audio)
    with pytest.raises(RuntimeError, match="of the block"), attach(model, gates):
        raise RuntimeError("of the block")
    assert torch.equal(first_output(model, audio), dense)


class OddLinear(nn.Linear):
    """A Linear of a class that no gate knows."""


def test_a_module_that_cannot_be_gated_leaves_no_half_attachment(loose):
    model, gates = loose
    last = model.get_submodule(gates.graph.backbone).encoder.layers[-1].feed_forward.output_dense
    last.__class__ = OddLinear
    classes = [type(module) for module in model.modules()]
    with pytest.raises(ModelError, match="is a OddLinear"):
        attach(model, gates)
    assert [type(module) for module in model.modules()] == classes
    assert gates.attachment is None


def test_an_attachment_knows_the_mode_of_its_backbone(loose):
    model, gates = loose
    attachment = attach(model, gates)
    assert attachment.training is False
    model.train()
    assert attachment.training is True


def test_attaching_changes_no_key_and_detaching_leaves_no_trace():
    model = tiny_model(norm="layer")
    keys, classes = list(model.state_dict()), [type(module) for module in model.modules()]
    names = [name for name, _ in model.named_parameters()]
    audio = torch.randn(1, 8000)
    wanted = first_output(model, audio)
    gates = gated(model)
    assert list(model.state_dict()) == keys
    assert [name for name, _ in model.named_parameters()] == names
    assert all(isinstance(module, cls) for module, cls in zip(model.modules(), classes, strict=True))
    assert relative_difference(first_output(model, audio), wanted) > 1e-6
    gates.detach()
    assert [type(module) for module in model.modules()] == classes
    assert all("prune_ssl_gate" not in vars(module) for module in model.modules())
    assert not model.hubert._forward_pre_hooks
    assert torch.equal(first_output(model, audio), wanted)


def test_attaching_twice_or_tracing_a_gated_model_is_refused():
    model = tiny_model()
    graph = trace(model)
    attach_gates(model, graph, CONFIG)
    with pytest.raises(ModelError, match="attached to this model already"):
        attach_gates(model, graph, CONFIG)
    with pytest.raises(ModelError, match=r"call gates\.detach\(\) before tracing"):
        trace(model)


def test_a_gated_model_can_be_copied():
    model = tiny_model()
    gates = gated(model)
    gates.hold({"layer.0.ffn": [1, 2]})
    audio = torch.randn(1, 8000)
    assert torch.equal(first_output(copy.deepcopy(model), audio), first_output(model, audio))


def test_gates_alone_refuse_milestones():
    model = tiny_model()
    config = PruningConfig(budget="macs=40%", milestones=("macs=80%",), steps=9, round_to=1)
    with pytest.raises(BudgetError, match="only PruningTrainer has them"):
        attach_gates(model, trace(model), config)
