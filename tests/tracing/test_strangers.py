"""The law holds for strangers: of a group that is offered masked equals cut; others have a reason."""

import copy
import random
import threading
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import HubertForSequenceClassification, Wav2Vec2ForSequenceClassification

from prune_ssl import PruningConfig, attach_gates, resize, trace
from prune_ssl.errors import PruneError
from prune_ssl.selection import KINDS
from tests.support.keeps import random_keep
from tests.support.models import checksum, relative_difference, tiny_model

CHANNELS, NEURONS = 8, 12


class Stranger(nn.Module):
    """A frontend, something in the middle (B, T, NEURONS), a reader."""

    def __init__(self, middle, neurons=NEURONS, reads=NEURONS):
        super().__init__()
        self.frontend = nn.Conv1d(1, CHANNELS, 400, 160)
        self.first = nn.Linear(CHANNELS, neurons)
        self.middle = middle if isinstance(middle, nn.Module) else None
        self.function = None if isinstance(middle, nn.Module) else middle
        self.last = nn.Linear(reads, 5)

    def forward(self, waveform):
        features = self.frontend(waveform[:, None]).transpose(1, 2)
        inner = self.first(features)
        return self.last(self.middle(inner) if self.function is None else self.function(inner))


class Scaled(nn.Module):
    """A parameter of one's own for each channel."""

    def __init__(self, by_buffer=False):
        super().__init__()
        values = torch.rand(NEURONS) + 0.5
        if by_buffer:
            self.register_buffer("scale", values)
        else:
            self.scale = nn.Parameter(values)

    def forward(self, inner):
        return inner * self.scale


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Linear(NEURONS, 3), nn.Linear(3, NEURONS)

    def forward(self, inner):
        return inner * torch.sigmoid(self.up(functional.relu(self.down(inner.mean(1, keepdim=True)))))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(NEURONS, 20), nn.Linear(20, NEURONS)

    def forward(self, inner):
        return inner + self.down(functional.gelu(self.up(inner)))


class Depthwise(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(NEURONS, NEURONS, 3, padding=1, groups=NEURONS)

    def forward(self, inner):
        return self.conv(inner.transpose(1, 2)).transpose(1, 2)


class Turned(nn.Module):
    """A module over channels first."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, inner):
        return self.inner(inner.transpose(1, 2)).transpose(1, 2)


class Twice(nn.Module):
    """One Linear used twice."""

    def __init__(self):
        super().__init__()
        self.same = nn.Linear(NEURONS, NEURONS)

    def forward(self, inner):
        return self.same(functional.relu(self.same(inner)))


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(NEURONS, 9), nn.ReLU(), nn.Linear(9, NEURONS)) for _ in range(3)
        )

    def forward(self, inner):
        for layer in self.layers:
            inner = inner + layer(inner)
        return inner


class ZeroStart(nn.Module):
    """A branch that starts at zero: with its own weights nothing in it could be seen."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(NEURONS, 10), nn.Linear(10, NEURONS)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, inner):
        return inner + self.down(
            functional.layer_norm(self.up(inner), (10,))
            if self.up.out_features == 10
            else functional.layer_norm(self.up(inner), (self.up.out_features,))
        )


class Counts(nn.Module):
    """A buffer that counts calls, and dropout that is always on."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, inner):
        self.calls += 1
        return functional.dropout(inner, 0.5, training=True)


def in_place(inner):
    return inner.mul_(0.5).add_(1.0).relu_()


def shuffle(inner):
    return inner.unflatten(-1, (4, -1)).transpose(-1, -2).flatten(-2)


def width_free(function):
    """A norm over whatever width there is, so that the cut model runs."""
    return lambda inner: function(inner, inner.shape[-1])


FIRST = "first"
# name -> (middle, what must not be offered, what must be)
ZOO = {
    "layer_norm": (width_free(lambda x, n: functional.layer_norm(x, (n,))), {FIRST}, {"conv.0"}),
    "rms_norm": (width_free(lambda x, n: functional.rms_norm(x, (n,))), {FIRST}, {"conv.0"}),
    "softmax": (lambda x: x.softmax(-1), {FIRST}, {"conv.0"}),
    "log_softmax": (lambda x: x.log_softmax(-1), {FIRST}, {"conv.0"}),
    "softmax module": (nn.Softmax(-1), {FIRST}, {"conv.0"}),
    "softmin": (lambda x: functional.softmin(x, -1), {FIRST}, {"conv.0"}),
    "softmax over time": (lambda x: x.softmax(1), set(), {"conv.0"}),
    "group norm": (
        lambda x: functional.group_norm(x.transpose(1, 2), 2).transpose(1, 2),
        {FIRST},
        {"conv.0"},
    ),
    "normalize": (lambda x: functional.normalize(x, dim=-1), {FIRST}, {"conv.0"}),
    "cumsum": (lambda x: x.cumsum(-1), {FIRST}, {"conv.0"}),
    "flip": (lambda x: x.flip(-1), {FIRST}, {"conv.0"}),
    "roll": (lambda x: x.roll(1, -1), {FIRST}, {"conv.0"}),
    "sort": (lambda x: x.sort(-1).values, {FIRST}, {"conv.0"}),
    "pairs": (lambda x: x.unflatten(-1, (-1, 2)).sum(-1).repeat(1, 1, 2), {FIRST}, {"conv.0"}),
    "view": (
        lambda x: x.reshape(x.shape[0], -1, 2).max(-1).values.reshape(*x.shape[:2], -1).repeat(1, 1, 2),
        {FIRST},
        {"conv.0"},
    ),
    "shuffle": (shuffle, {FIRST}, {"conv.0"}),
    "own product": (lambda x: x * (x @ x.transpose(1, 2)).mean(-1, keepdim=True), {FIRST}, {"conv.0"}),
    "mean over units": (lambda x: x - x.mean(-1, keepdim=True), {FIRST}, {"conv.0"}),
    "std over units": (lambda x: x / (1 + x.std(-1, keepdim=True)), {FIRST}, {"conv.0"}),
    "max over units": (lambda x: x - x.amax(-1, keepdim=True), {FIRST}, {"conv.0"}),
    "mean over time": (lambda x: x - x.mean(1, keepdim=True), set(), {"conv.0"}),
    "concat": (lambda x: torch.cat([x[..., 6:], x[..., :6]], -1), {FIRST}, {"conv.0"}),
    "first half": (lambda x: x * torch.cat([x[..., :6], x[..., :6]], -1), {FIRST}, {"conv.0"}),
    "einsum": (lambda x: torch.einsum("btc,bsc->bts", x, x) @ x, {FIRST}, {"conv.0"}),
    "parameter of each unit": (Scaled(), {FIRST}, {"conv.0"}),
    "buffer of each unit": (Scaled(by_buffer=True), {FIRST}, {"conv.0"}),
    "squeeze and excite": (SqueezeExcite(), {FIRST}, {"conv.0"}),
    "residual": (Residual(), {FIRST}, {"conv.0", "middle.up"}),
    "depthwise": (Depthwise(), {FIRST}, {"conv.0"}),
    "twice": (Twice(), {"middle.same"}, {"conv.0"}),
    "loop": (Loop(), {FIRST}, {"conv.0", "middle.layers.0.0", "middle.layers.2.0"}),
    "zero start": (ZeroStart(), {"middle.up"}, {"conv.0"}),
    "counts": (Counts(), set(), {"conv.0"}),
    "in place": (in_place, set(), {"conv.0"}),
    "relu": (functional.relu, set(), {"conv.0", FIRST}),
    "gelu and a shift": (lambda x: functional.gelu(x) + 1.5, set(), {"conv.0", FIRST}),
    "snake": (lambda x: x + x.sin() ** 2, set(), {"conv.0", FIRST}),
    "prelu of each unit": (Turned(nn.PReLU(NEURONS)), {FIRST}, {"conv.0"}),
    "batch norm": (Turned(nn.BatchNorm1d(NEURONS)), set(), {"conv.0", FIRST}),
    "group norm of two": (Turned(nn.GroupNorm(2, NEURONS)), {FIRST}, {"conv.0"}),
    "layer norm module": (nn.LayerNorm(NEURONS), set(), {"conv.0", FIRST}),
    "rms norm module": (nn.RMSNorm(NEURONS), {FIRST}, {"conv.0"}),
}
HALVES = {
    "glu": functional.glu,
    "chunk": lambda x: x.chunk(2, -1)[0] * x.chunk(2, -1)[1].sigmoid(),
    "split": lambda x: sum(x.split(NEURONS, -1)),
    "strided": lambda x: x[..., ::2] + x[..., 1::2],
}


class Branches(Stranger):
    """Takes a way that depends on the values."""

    def forward(self, waveform):
        features = self.frontend(waveform[:, None]).transpose(1, 2)
        inner = self.first(features)
        return self.last(inner if inner.mean() > 0 else -inner)


class TwoOutputs(Stranger):
    def forward(self, waveform):
        features = self.frontend(waveform[:, None]).transpose(1, 2)
        inner = self.first(features).relu()
        return {"logits": self.last(inner), "more": {"features": inner, "names": ["a"]}}


class TwoHeads(Stranger):
    """What is read twice goes for both readers."""

    def __init__(self):
        super().__init__(functional.relu)
        self.other = nn.Linear(NEURONS, 2)

    def forward(self, waveform):
        inner = self.first(self.frontend(waveform[:, None]).transpose(1, 2)).relu()
        return self.last(inner), OrderedDict(other=self.other(inner.mean(1)))


class Pixels(Stranger):
    """Channels become frames."""

    def __init__(self):
        super().__init__(functional.relu)
        self.up = nn.Conv1d(CHANNELS, CHANNELS * 2, 1)

    def forward(self, waveform):
        made = self.up(self.frontend(waveform[:, None]).relu())
        spread = functional.pixel_shuffle(made[..., None].repeat(1, 2, 1, 1), 2)[..., 0]
        return self.last(self.first(spread[:, :CHANNELS].transpose(1, 2)))


class Tied(Stranger):
    def __init__(self):
        super().__init__(functional.relu)
        self.again = nn.Linear(CHANNELS, NEURONS)
        self.again.weight = self.first.weight

    def forward(self, waveform):
        features = self.frontend(waveform[:, None]).transpose(1, 2)
        return self.last(self.first(features).relu() + self.again(features).relu())


def made(name):
    if name in HALVES:
        return Stranger(HALVES[name], 2 * NEURONS, NEURONS)
    return Stranger(copy.deepcopy(ZOO[name][0]))


def held_to_the_law(model):
    """Trace, and compare masked with cut for every group alone and for all, over several keeps."""
    model = model.double().eval()
    graph = trace(model)
    audio = torch.randn(1, 16_000, dtype=torch.float64)
    keeps = [random_keep(graph, seed, kinds=KINDS) for seed in range(4)]
    keeps += [{name: keeps[0][name]} for name in graph.groups if name in keeps[0]]
    for keep in keeps:
        gates = attach_gates(model, graph, PruningConfig(budget="macs=100%", round_to=1, kinds=KINDS))
        gates.double().hold(keep)
        found = [outputs_of(model, audio)]
        gates.detach()
        found.append(outputs_of(resize(model, graph, keep), audio))
        for masked, cut in zip(*found, strict=True):
            assert relative_difference(cut, masked) < 1e-9, keep
    assert all(why and "\n" not in why for why in graph.not_pruned.values())
    return graph


def outputs_of(model, audio):
    torch.manual_seed(3)
    with torch.no_grad():
        output = model(audio)
    values = (
        output if isinstance(output, tuple) else output.values() if isinstance(output, dict) else [output]
    )
    return [each for each in values if isinstance(each, torch.Tensor)]


@pytest.mark.parametrize("name", ZOO)
def test_what_mixes_units_is_refused_and_all_else_is_cut_exactly(name):
    graph = held_to_the_law(made(name))
    _, refused, offered = ZOO[name]
    assert not refused & graph.groups.keys()
    assert refused <= graph.not_pruned.keys()
    assert offered <= graph.groups.keys()


@pytest.mark.parametrize("name", HALVES)
def test_what_halves_the_units_is_refused(name):
    graph = held_to_the_law(made(name))
    assert FIRST in graph.not_pruned
    assert set(graph.groups) == {"conv.0"}


@pytest.mark.parametrize(("cls", "offered"), [(TwoHeads, {"conv.0"}), (Pixels, {"conv.0", FIRST})])
def test_readers_of_many_kinds(cls, offered):
    assert set(held_to_the_law(cls()).groups) == offered


def test_a_model_of_which_nothing_can_go_says_why():
    with pytest.raises(PruneError, match="nothing of Tied can be pruned: first: "):
        trace(Tied())


def test_units_that_the_model_hands_out_as_well_are_refused():
    graph = held_to_the_law(TwoOutputs(functional.relu))
    assert FIRST in graph.not_pruned


def test_a_way_that_depends_on_values_is_refused_in_one_line():
    with pytest.raises(PruneError) as caught:
        trace(Branches(functional.relu))
    assert "\n" not in str(caught.value)


def test_what_a_custom_function_does_is_seen_by_running_it():
    """An operation that hides what it does from the graph: only the law can tell."""

    class Hidden(torch.autograd.Function):
        @staticmethod
        def forward(_context, value):
            return value.flip(-1)

        @staticmethod
        def backward(_context, gradient):
            return gradient.flip(-1)

    Hidden.__name__ = "Relu"
    graph = held_to_the_law(Stranger(Hidden.apply))
    assert FIRST in graph.not_pruned


def test_the_difference_is_in_the_reason():
    """A view that mixes neighbours has an operation that the graph lets through."""
    graph = trace(Stranger(ZOO["view"][0]))
    assert FIRST in graph.not_pruned
    relu_then_flat = Stranger(lambda x: x.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1))  # time-major
    graph = trace(relu_then_flat)
    assert FIRST in graph.not_pruned


@pytest.mark.parametrize("name", ["counts", "in place", "layer_norm"])
def test_the_model_and_all_random_states_are_untouched(name):
    model = made(name).train()
    calls = []
    model.first.register_forward_hook(lambda *_: calls.append(1))
    before, hooks = checksum(model), dict(model.first._forward_hooks)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    trace(model)
    assert checksum(model) == before
    assert model.training
    assert dict(model.first._forward_hooks) == hooks
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_a_hook_that_changes_what_passes_is_part_of_the_law():
    model = Stranger(functional.relu)
    model.first.register_forward_hook(lambda _module, _args, output: output.softmax(-1))
    assert FIRST in trace(model).not_pruned


# -- strange parts of known families


class PooledForSequenceClassification(Wav2Vec2ForSequenceClassification):
    """The hidden states are pooled with weights that look at all of them at once."""

    def forward(self, input_values, attention_mask=None, **kwargs):
        hidden = self.wav2vec2(input_values, attention_mask=attention_mask).last_hidden_state
        weights = hidden.softmax(-1)
        return {"logits": self.classifier(self.projector((weights * hidden).sum(1)))}


class PlainForSequenceClassification(HubertForSequenceClassification):
    """A subclass that changes nothing."""


def subclass_of(cls, base):
    model = tiny_model(base, "ForSequenceClassification")
    model.__class__ = cls
    return model


def test_a_head_that_mixes_the_residual_stream_refuses_it():
    graph = trace(subclass_of(PooledForSequenceClassification, "wav2vec2"))
    assert "differ by" in graph.not_pruned["hidden"]
    assert {"layer.0.ffn", "layer.1.heads", "conv.3", "layer.2"} <= graph.groups.keys()


def test_a_subclass_that_changes_nothing_keeps_all_its_groups():
    stock = tiny_model("hubert")
    assert (
        trace(subclass_of(PlainForSequenceClassification, "hubert")).groups.keys()
        == trace(stock).groups.keys()
    )


class Mixing(nn.Module):
    def forward(self, inner):
        return inner - inner.mean(-1, keepdim=True) * torch.sigmoid(inner)


def exchanged(activation):
    model = tiny_model("hubert")
    model.hubert.encoder.layers[1].feed_forward.intermediate_act_fn = activation
    return model


@pytest.mark.parametrize("activation", [nn.Softmax(-1), Mixing()])
def test_an_activation_that_mixes_the_neurons_is_refused(activation):
    with pytest.raises(PruneError, match=r"layer\.1\.ffn"):
        trace(exchanged(activation))


@pytest.mark.parametrize("activation", [nn.Softsign(), nn.Tanh()])
def test_an_activation_of_each_neuron_may_be_exchanged(activation):
    assert "layer.1.ffn" in trace(exchanged(activation)).groups


def test_a_stock_model_is_never_run(monkeypatch):
    def no(*_args, **_kwargs):
        raise AssertionError("a stock model was judged")

    monkeypatch.setattr("prune_ssl.tracing.tracer.broken_by", no)
    assert trace(tiny_model("wav2vec2")).groups
    with pytest.raises(AssertionError):
        trace(subclass_of(PlainForSequenceClassification, "hubert"))


def test_an_architecture_without_weights_is_judged_with_random_ones():
    for name in ("softmax", "layer_norm", "residual"):
        with torch.device("meta"):
            model = made(name)
        assert trace(model).groups.keys() == trace(made(name)).groups.keys()


def test_a_linear_that_was_exchanged_is_named():
    model = tiny_model("hubert")
    layer = model.hubert.encoder.layers[1].feed_forward
    layer.intermediate_dense = nn.Sequential(layer.intermediate_dense, nn.Identity())
    graph = trace(model)
    path = "hubert.encoder.layers.1.feed_forward.intermediate_dense"
    assert graph.not_pruned[path] == "it is a Sequential, wanted a Linear"
    assert "is a Sequential" in graph.not_pruned["hidden"]
    assert {"layer.0.ffn", "layer.1.heads"} <= graph.groups.keys()


def test_gates_and_hooks_of_ones_own_are_not_copied_with_the_model():
    """A bound method as hook would copy all that its owner holds."""

    class Owner:
        def __init__(self):
            self.calls = 0

        def __deepcopy__(self, memo):
            raise AssertionError("the hook's owner was copied")

        def hook(self, _module, _args, _output):
            self.calls += 1

    owner, model = Owner(), made("relu")
    model.first.register_forward_hook(owner.hook)
    assert FIRST in trace(model).groups
    stock = tiny_model()
    stock.hubert.register_forward_hook(owner.hook)
    assert trace(stock).groups


def test_a_model_that_cannot_be_copied_is_refused_in_one_line():
    model = made("relu")
    model.lock = threading.Lock()
    with pytest.raises(PruneError, match="cannot be copied") as caught:
        trace(model)
    assert "\n" not in str(caught.value)
