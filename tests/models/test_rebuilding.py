"""What is saved can be loaded: what a config does not make is said at trace, and refused at saving."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from prune_ssl import load_pretrained, resize, save_pretrained, trace
from prune_ssl.errors import ArtifactError, ModelError, PruneWarning
from tests.support.models import ALL_CASES, first_output, tiny_model

KEEP = {"layer.0.ffn": [0, 1], "conv.1": [0, 2, 3]}


def own_classifier():
    model = tiny_model()
    torch.manual_seed(3)
    model.classifier = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 5))
    return model.eval()


def one_more_module():
    model = tiny_model()
    model.extra = nn.Linear(3, 3)
    return model


def other_lm_head():
    model = tiny_model("wav2vec2", "ForCTC")
    model.lm_head = nn.Linear(16, 20)
    return model


def other_classes():
    model = tiny_model()
    model.classifier = nn.Linear(12, 7)
    return model


def other_projector():
    model = tiny_model("wav2vec2")
    model.projector, model.classifier = nn.Linear(16, 20), nn.Linear(20, 5)
    return model


def fewer_layers():
    model = tiny_model("wavlm", "ForCTC")
    model.wavlm.encoder.layers = model.wavlm.encoder.layers[:2]
    return model


def other_activation():
    model = tiny_model()
    model.hubert.encoder.layers[1].feed_forward.intermediate_act_fn = nn.ReLU()
    return model


def folded_weight_norm():
    model = tiny_model()
    parametrize.remove_parametrizations(model.hubert.encoder.pos_conv_embed.conv, "weight")
    return model


def tied_weights():
    model = tiny_model()
    one, other = (layer.feed_forward.output_dense for layer in model.hubert.encoder.layers[:2])
    other.weight = one.weight
    return model


def no_norm():
    model = tiny_model()
    model.hubert.encoder.layer_norm = nn.Identity()
    return model


ODD = {
    own_classifier: ("classifier: found a Sequential, its config makes a Linear", "factory"),
    one_more_module: ("extra: found a Linear", "factory"),
    other_lm_head: ("lm_head.weight: found shape [20, 16]", "Set model.config.vocab_size = 20"),
    other_classes: ("classifier.weight: found shape [7, 12]", "Set model.config.num_labels = 7"),
    other_projector: ("projector.weight: found shape [20, 16]", "Set model.config.classifier_proj_size = 20"),
    fewer_layers: ("encoder.layers.2.", "Set model.config.num_hidden_layers = 2"),
    other_activation: ("layers.1.feed_forward.intermediate_act_fn is a ReLU", "hidden_act"),
    folded_weight_norm: ("pos_conv_embed.conv: found a Conv1d", "factory"),
    tied_weights: ("layers.1.feed_forward.output_dense.weight are one tensor", "a parameter of its own"),
    no_norm: ("encoder.layer_norm: found a Identity", "factory"),
}


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
def test_what_the_config_does_not_make_is_said_once_at_trace_and_refused_at_saving(tmp_path, make):
    model = make()
    with pytest.warns(PruneWarning) as said:
        trace(model)
    (line,) = (str(each.message) for each in said)
    with pytest.raises(ArtifactError) as refused:
        save_pretrained(model, tmp_path / "out")
    for text in (line, str(refused.value)):
        assert "\n" not in text
        for part in ODD[make]:
            assert part in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "make", [own_classifier, one_more_module, other_activation], ids=lambda make: make.__name__
)
def test_with_the_plan_and_a_factory_such_a_model_can_be_had_again(tmp_path, make):
    model = make()
    with pytest.warns(PruneWarning):
        small = resize(model, trace(model), KEEP).eval()
    with pytest.raises(ArtifactError, match="nothing was written"):
        save_pretrained(small, tmp_path / "no")
    with pytest.warns(PruneWarning, match=r"load_pretrained\(folder, factory\)"):
        folder = save_pretrained(small, tmp_path / "out", plan=KEEP)
    assert not (folder / "config.json").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_pretrained(folder, make)
    audio = torch.randn(1, 8000)
    assert torch.equal(first_output(loaded, audio), first_output(small, audio))
    with pytest.raises(ArtifactError, match="give load_pretrained the function"):
        load_pretrained(folder)


def test_what_a_field_of_the_config_can_say_is_refused_with_a_plan_too_and_saved_once_it_says_it(tmp_path):
    model = other_lm_head()
    with pytest.warns(PruneWarning):
        small = resize(model, trace(model), KEEP)
    with pytest.raises(ArtifactError, match="vocab_size = 20"):
        save_pretrained(small, tmp_path / "out", plan=KEEP)
    small.config.vocab_size = 20
    assert load_pretrained(save_pretrained(small, tmp_path / "out", plan=KEEP)).lm_head.out_features == 20


@pytest.mark.parametrize(("family", "head", "norm"), ALL_CASES)
def test_stock_models_and_their_cuts_are_traced_without_a_word(family, head, norm):
    model = tiny_model(family, head, norm)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace(model)


def test_weight_norm_of_the_old_kind_is_no_obstacle(tmp_path):
    model = folded_weight_norm()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weight_norm(model.hubert.encoder.pos_conv_embed.conv, name="weight", dim=2)
    audio = torch.randn(1, 8000)
    loaded = load_pretrained(save_pretrained(model, tmp_path / "out"))
    assert torch.equal(first_output(loaded, audio), first_output(model.eval(), audio))


def test_tracing_draws_no_random_numbers():
    model = tiny_model("wav2vec2", "ForCTC")
    before = torch.get_rng_state()
    trace(model)
    assert torch.equal(torch.get_rng_state(), before)


class LoraLinear(nn.Module):
    """As peft wraps a Linear."""

    def __init__(self, base):
        super().__init__()
        self.base_layer = base
        self.lora_A = nn.ModuleDict({"default": nn.Linear(base.in_features, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, base.out_features, bias=False)})


class LoralibLinear(nn.Linear):
    """As loralib subclasses a Linear."""

    def __init__(self, size):
        super().__init__(size, size)
        self.lora_A, self.lora_B = nn.Parameter(torch.ones(2, size)), nn.Parameter(torch.ones(size, 2))


class BaseTunerLayer:
    """The mark of all of peft's layers."""


class OtherAdapter(BaseTunerLayer, nn.Linear):
    """An adapter of a kind that is not known by its names."""


class Plus(nn.Module):
    """An adapter as a parametrisation."""

    def __init__(self):
        super().__init__()
        self.delta = nn.Parameter(torch.zeros(16, 16))

    def forward(self, weight):
        return weight + self.delta


class PeftModel(nn.Module):
    """As peft wraps a whole model."""

    def __init__(self, model):
        super().__init__()
        self.base_model = model


def with_query(make):
    model = tiny_model()
    attention = model.hubert.encoder.layers[0].attention
    attention.q_proj = make(attention.q_proj)
    return model


def parametrised(linear):
    parametrize.register_parametrization(linear, "weight", Plus())
    return linear


def half_quantised(linear):
    linear.weight = nn.Parameter(torch.ones(16, 16, dtype=torch.int8), requires_grad=False)
    return linear


class Packed(torch.Tensor):
    """A weight that is no plain tensor, as torchao's are."""


def packed(linear):
    linear.weight = nn.Parameter(torch.ones(16, 16).as_subclass(Packed))
    return linear


class Linear8bitLt(nn.Linear):
    """As bitsandbytes names it."""


WRAPPED = {
    "lora": (lambda: with_query(LoraLinear), "merge_and_unload"),
    "loralib": (lambda: with_query(lambda _: LoralibLinear(16)), "merge_and_unload"),
    "other adapter": (lambda: with_query(lambda _: OtherAdapter(16, 16)), "merge_and_unload"),
    "whole": (lambda: PeftModel(tiny_model()), "merge_and_unload"),
    "parametrised": (lambda: with_query(parametrised), "remove_parametrizations"),
    "spectral": (lambda: with_query(parametrizations.spectral_norm), "remove_parametrizations"),
    "old spectral": (lambda: with_query(spectral_norm), "remove_spectral_norm"),
    "masks": (lambda: with_query(lambda x: prune.l1_unstructured(x, "weight", 0.3)), r"prune\.remove"),
    "int8": (lambda: with_query(half_quantised), "quantised"),
    "packed": (lambda: with_query(packed), "quantised"),
    "bitsandbytes": (lambda: with_query(lambda _: Linear8bitLt(16, 16)), "quantised"),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_adapters_and_quantised_layers_are_refused_at_trace_and_at_saving(tmp_path, kind):
    make, words = WRAPPED[kind]
    model = make()
    with pytest.raises(ModelError, match=words) as found:
        trace(model)
    assert kind == "whole" or "q_proj" in str(found.value)
    if kind != "whole":
        with pytest.raises(ArtifactError, match=words):
            save_pretrained(model, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_adapters_of_peft_are_refused_until_they_are_merged():
    peft = pytest.importorskip("peft", reason="peft is not installed")
    model = tiny_model()
    wrapped = peft.get_peft_model(
        model, peft.LoraConfig(target_modules=["q_proj", "intermediate_dense"], r=2)
    )
    for each in (wrapped, model):
        with pytest.raises(ModelError, match="merge_and_unload"):
            trace(each)
    assert trace(wrapped.merge_and_unload()).cost() == trace(tiny_model()).cost()
