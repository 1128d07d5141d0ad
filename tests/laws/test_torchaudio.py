"""torchaudio's models: exact removal and cost, in both forms, and the pretraining model."""

import pytest
import torch
import torchaudio
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from prune_ssl import Plan, resize, trace
from prune_ssl.errors import ModelError
from tests.support.keeps import ALL, UNITS, random_keep
from tests.support.models import relative_difference
from tests.support.torchaudio_models import SHAPE, masked_and_resized, tiny


@pytest.mark.parametrize(("mode", "outputs"), [("group_norm", None), ("group_norm", 7), ("layer_norm", 7)])
@pytest.mark.parametrize("lengths", [None, torch.tensor([7000, 5000])])
def test_masked_equals_resized(mode, outputs, lengths):
    model = tiny(mode, outputs).double()
    graph, audio = trace(model), torch.randn(2, 7000, dtype=torch.float64)
    cases = [("random", UNITS), ("no heads", UNITS), ("random", ("block",)), ("one layer", ("layer",))]
    for seed, (extreme, kinds) in enumerate([*cases, ("random", ("hidden",)), ("random", ALL)]):
        keep = random_keep(graph, seed, extreme, kinds)
        masked, resized = masked_and_resized(model, graph, keep, audio, lengths)
        if "hidden" in keep and outputs is None:
            masked = masked[..., [unit * 8 + d for unit in keep["hidden"] for d in range(8)]]
        assert relative_difference(resized, masked) < 1e-9


def counted_macs(model):
    # The fused kernel of the CPU has no FLOP rule, the plain one is made of products that have.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(torch.randn(1, 16_000))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("mode", ["group_norm", "layer_norm"])
@pytest.mark.parametrize("wavlm", [False, True])
def test_predicted_cost_equals_counted_cost(mode, wavlm):
    model = tiny(mode, 7, wavlm)
    graph = trace(model)
    assert counted_macs(model) == graph.cost(seconds=1.0).macs
    for seed, kinds in enumerate((UNITS, ALL)):
        keep = random_keep(graph, seed, "random", kinds)
        small, cost = resize(model, graph, keep), graph.cost(keep, seconds=1.0)
        assert sum(parameter.numel() for parameter in small.parameters()) == cost.params
        assert counted_macs(small) == cost.macs


def test_base_has_the_size_that_torchaudio_documents():
    with torch.device("meta"):
        model = torchaudio.models.wav2vec2_base()
    # Hugging Face's count has a mask embedding of 768 more.
    assert trace(model).cost(seconds=10.0).params == 94_371_712 - 768
    assert round(trace(model).cost(seconds=10.0).macs / 1e9, 3) == 74.067


@pytest.mark.parametrize("mode", ["group_norm", "layer_norm"])
def test_wavlm_loses_heads_and_width_and_is_cut_again(mode):
    model = tiny(mode, 7, wavlm=True).double()
    audio = torch.randn(2, 7000, dtype=torch.float64)
    for seed, extreme in enumerate(("random", "no heads", "no blocks", "random", "one layer")):
        graph = trace(model)
        keep = random_keep(graph, seed, extreme, ALL if seed else ("heads", "hidden"))
        scales = {
            name: [0.5] * len(units) for name, units in keep.items() if graph.groups[name].kind != "layer"
        }
        plan = Plan({name: tuple(units) for name, units in keep.items()}, scales)
        masked, resized = masked_and_resized(model, graph, plan, audio)
        assert relative_difference(resized, masked) < 1e-9
        with torch.no_grad():
            assert relative_difference(masked, model(audio)[0]) > 1e-9
        if extreme == "random":
            model = resize(model, graph, keep)


def test_wavlm_says_what_it_cannot():
    with torch.device("meta"):
        graph = trace(torchaudio.models.wavlm_base())
    assert graph.groups["layer.11.heads"].size == 12
    assert "one fused projection" in graph.not_pruned["layer.0.head_dim"]
    small = resize(tiny(wavlm=True), trace(tiny(wavlm=True)), {"layer.0.heads": [1]})
    with pytest.raises(ModelError, match="takes no lengths"):
        small(torch.randn(2, 7000), torch.tensor([7000, 5000]))


def test_the_pretraining_model_is_cut_too():
    model = torchaudio.models.hubert_pretrain_model(
        extractor_mode="group_norm",
        extractor_conv_bias=False,
        encoder_layer_norm_first=False,
        mask_prob=0.0,
        mask_selection="static",
        mask_other=0.0,
        mask_length=2,
        no_mask_overlap=False,
        mask_min_space=1,
        mask_channel_prob=0.0,
        mask_channel_selection="static",
        mask_channel_other=0.0,
        mask_channel_length=2,
        no_mask_channel_overlap=False,
        mask_channel_min_space=1,
        skip_masked=False,
        skip_nomask=False,
        num_classes=5,
        final_dim=8,
        feature_grad_mult=None,
        **SHAPE,
    ).double()
    graph = trace(model)
    assert "not known to read the residual" in graph.not_pruned["hidden"]
    keep = random_keep(graph, 2, "random", UNITS)
    audio = torch.randn(2, 7000, dtype=torch.float64)
    masked, resized = masked_and_resized(model.eval(), graph, keep, audio)
    assert relative_difference(resized, masked) < 1e-9
    small = resize(model, graph, keep)
    assert sum(parameter.numel() for parameter in small.parameters()) == graph.cost(keep).params
