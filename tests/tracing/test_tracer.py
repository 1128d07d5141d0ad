"""trace(): groups, costs against closed forms, refusals, and that the model is left alone."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils import weight_norm
from transformers import BertConfig, BertModel, HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model

from prune_ssl.errors import KeepError, ModelError, TraceError
from prune_ssl.models import FAMILIES
from prune_ssl.tracing import superb_macs, trace
from tests.support.models import (
    ALL_CASES,
    CASES,
    ONE_OF_EACH,
    batch,
    first_output,
    relative_difference,
    tiny_model,
)


@pytest.fixture(scope="module")
def base_graph():
    with torch.device("meta"):
        return trace(Wav2Vec2Model(Wav2Vec2Config()))


def base_params():
    conv = 512 * 10 + 4 * 512 * 512 * 3 + 2 * 512 * 512 * 2 + 2 * 512
    projection = 2 * 512 + 513 * 768
    position = 768 * 48 * 128 + 128 + 768
    layer = 4 * 769 * 768 + 769 * 3072 + 3073 * 768 + 4 * 768
    return conv + projection + position + 2 * 768 + 12 * layer + 768  # the last: mask embedding


def base_macs(samples):
    frames, total, channels = samples, 0, 1
    for kernel, stride in [(10, 5)] + [(3, 2)] * 4 + [(2, 2)] * 2:
        frames = (frames - kernel) // stride + 1
        total += frames * kernel * channels * 512
        channels = 512
    layer = 4 * frames * 768 * 768 + 2 * frames**2 * 768 + 2 * frames * 768 * 3072
    return total + frames * 512 * 768 + (frames + 1) * 128 * 768 * 48 + 12 * layer


def test_base_parameters_equal_the_closed_form(base_graph):
    assert base_graph.cost().params == base_params() == 94_371_712


@pytest.mark.parametrize(
    ("seconds", "billions"), [(1.0, 6.911), (8.0, 58.498), (10.0, 74.067), (20.0, 157.439)]
)
def test_base_macs_equal_the_closed_form(base_graph, seconds, billions):
    macs = base_graph.cost(seconds=seconds).macs
    assert macs == base_macs(round(seconds * 16_000))
    assert round(macs / 1e9, 3) == billions


def test_the_superb_sum_is_reproduced(base_graph):
    total, groups = superb_macs(base_graph)
    assert total == 1_665_522_780_160
    assert sum(groups) == total


def test_hubert_base_costs_the_same_as_wav2vec2_base(base_graph):
    with torch.device("meta"):
        hubert = trace(HubertModel(HubertConfig()))
    assert hubert.cost(seconds=3.3) == base_graph.cost(seconds=3.3)


def test_parts_add_up_to_the_whole(base_graph):
    keep = {"conv.2": range(100), "layer.3.heads": [], "layer.5.ffn": range(8)}
    cost = base_graph.cost(keep, seconds=2.0)
    for parts in (cost.by_section, cost.by_layer):
        assert sum(part.params for part in parts.values()) == cost.params
        assert sum(part.macs for part in parts.values()) == cost.macs
    assert set(cost.by_section) == {"frontend", "projection", "position", "encoder"}


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


@pytest.mark.parametrize(("family", "head", "norm"), ALL_CASES[: len(CASES)])
def test_permuting_the_units_of_any_group_changes_nothing(family, head, norm):
    model = tiny_model(family, head, norm).double()
    graph, inputs = trace(model), batch(model)
    wanted = first_output(model, **inputs)
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    for group in graph.groups.values():
        if group.kind == "hidden" and not graph.backbone:
            continue  # the output of a bare model would be permuted with it
        if group.splits:
            continue  # WavLM's residual is bound to the slices that its position gates read
        if group.kind == "heads" and FAMILIES[family].attention.opened:
            continue  # WavLM's heads are bound to their columns of the shared table
        order = torch.randperm(group.size)
        for part in group.slices:
            old, new = torch.from_numpy(part.index), torch.from_numpy(part.index)[order]
            tensor = tensors[part.parameter].data
            tensor.index_copy_(part.dim, old.flatten(), tensor.index_select(part.dim, new.flatten()))
    assert relative_difference(first_output(model, **inputs), wanted) < 1e-9


def test_permuting_one_slice_alone_does_change_the_output():
    model = tiny_model().double()
    graph, audio = trace(model), torch.randn(1, 8000, dtype=torch.float64)
    wanted = first_output(model, audio)
    for name in ("conv.3", "layer.1.heads", "layer.1.ffn"):
        part = graph.groups[name].slices[0]
        parameter = dict(model.named_parameters())[part.parameter]
        parameter.data = parameter.data.flip(part.dim)
    assert relative_difference(first_output(model, audio), wanted) > 1e-6


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


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"layer.9.heads": [0]}, r"'layer\.9\.heads', which this model does not have. Did you mean"),
        ({"layer.1.heads": [0, 4]}, r"units must be in 0\.\.3, found 0\.\.4"),
        ({"layer.1.heads": [1, 1]}, "a unit is named twice"),
        ({"conv.2": []}, "at least 1 must stay"),
    ],
)
def test_a_keep_that_does_not_fit_is_refused(keep, message):
    with pytest.raises(KeepError, match=message):
        trace(tiny_model()).cost(keep)


def test_audio_shorter_than_the_receptive_field_is_refused():
    with pytest.raises(KeepError, match="receptive field"):
        trace(tiny_model()).cost(seconds=399 / 16_000)
