"""trace(): which groups it finds, what it refuses, and that the model is left alone."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils import weight_norm
from transformers import BertConfig, BertModel

from prune_ssl.errors import ModelError, TraceError
from prune_ssl.models import FAMILIES
from prune_ssl.tracing import trace
from tests.support.models import (
    ONE_OF_EACH,
    tiny_model,
)


@pytest.mark.parametrize(("family", "head", "norm"), ONE_OF_EACH)
def test_groups_cover_every_layer(family, head, norm):
    graph = trace(tiny_model(family, head, norm))
    table = FAMILIES[family]
    convs = [f"conv.{i}" for i in range(7 if table.projection else 1)] if table.conv else []
    assert [name for name in graph.groups if name.startswith("conv.")] == convs
    assert {graph.groups[f"layer.{i}.heads"].size for i in range(3)} == {4}
    for roles in table.ffns:
        assert {graph.groups[f"layer.{i}.{roles.group}"].size for i in range(3)} == {24}
        assert {graph.groups[f"layer.{i}.{roles.block}"].size for i in range(3)} == {1}
    assert [name for name, group in graph.groups.items() if group.kind == "layer"] == [
        f"layer.{i}" for i in range(3)
    ]
    assert ("hidden" in graph.groups) != ("hidden" in graph.not_pruned)
    if table.projection and table.conv and not table.squeeze:
        assert graph.receptive_field == 400


def test_tracing_leaves_the_model_and_the_random_state_alone():
    model = tiny_model(norm="layer").train()
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    classes = [type(module) for module in model.modules()]
    trace(model)
    handle.remove()
    assert calls == []
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert classes == [type(module) for module in model.modules()]
    # The weight norm's property is still on its class.
    assert model(torch.randn(1, 8000)).logits.requires_grad


def test_old_style_weight_norm_is_traced_too():
    model = tiny_model()
    conv = model.hubert.encoder.pos_conv_embed.conv
    new = trace(model).cost(seconds=1.0)
    plain = nn.Conv1d(16, 16, 4, padding=2, groups=2)
    with pytest.warns(FutureWarning):
        model.hubert.encoder.pos_conv_embed.conv = weight_norm(plain, dim=2)
    assert trace(model).cost(seconds=1.0) == new
    assert (
        model.hubert.encoder.pos_conv_embed.conv.weight_g.numel()
        == conv.parametrizations.weight.original0.numel()
    )


@pytest.mark.slow
def test_a_base_model_is_traced_without_copying_its_weights():
    # Peak memory is a property of a process, so this runs in one of its own.
    code = (
        "import resource, torch\n"
        "from transformers import Wav2Vec2Config, Wav2Vec2Model\n"
        "from prune_ssl.tracing import trace\n"
        "tiny = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,"
        " num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2)\n"
        "trace(Wav2Vec2Model(Wav2Vec2Config(**tiny)))\n"
        "model = Wav2Vec2Model(Wav2Vec2Config())\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "trace(model)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    grown = int(done.stdout.split()[-1]) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 94_371_712 * 4 / 10


def test_a_model_of_another_field_is_refused():
    bert = BertModel(
        BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    )
    with pytest.raises(ModelError, match=r"BertModel is not a speech SSL model.*wav2vec2, hubert"):
        trace(bert)
    with pytest.raises(ModelError, match=r"no Hugging Face config .* does not run on a waveform"):
        trace(nn.Linear(3, 3))


def test_an_unknown_operation_on_the_way_is_refused_by_name():
    model = tiny_model()
    model.hubert.encoder.layers[1].feed_forward.intermediate_act_fn = _CumulativeSum()
    with pytest.raises(TraceError, match=r"layer\.1\.ffn passes through the operation 'Cumsum'"):
        trace(model)


class _CumulativeSum(nn.Module):
    def forward(self, values):
        return values.cumsum(-1)


def test_a_norm_over_groups_of_channels_is_refused():
    model = tiny_model()
    model.hubert.feature_extractor.conv_layers[0].layer_norm = nn.GroupNorm(3, 12)
    with pytest.raises(TraceError, match=r"3 groups over 12 channels.*one group per channel"):
        trace(model)
