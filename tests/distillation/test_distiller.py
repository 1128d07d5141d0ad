"""The distiller and the trainers that use it: what is compared, with whom, and what stays untouched."""

import copy

import pytest
import torch
import torchaudio

import prune_ssl
from prune_ssl import DistillationConfig, trace
from prune_ssl.distillation import Distiller
from prune_ssl.errors import DistillationError
from tests.support.distilling import FOR_ALL_MODELS, audio, distil
from tests.support.models import tiny_model


def test_a_model_has_nothing_to_learn_from_itself():
    student = tiny_model(num_labels=3)
    losses = {name: 1.0 for name in FOR_ALL_MODELS if name != "log_cosine"}
    distiller = Distiller(DistillationConfig(losses=losses), copy.deepcopy(student), student)
    assert float(distil(distiller, student, audio(6000, 4000)).detach()) < 1e-5
    with torch.no_grad():
        for parameter in student.hubert.encoder.layers[0].attention.parameters():
            parameter.add_(torch.randn_like(parameter))
    distil(distiller, student, audio(6000, 4000))
    assert set(distiller.parts) == set(losses)
    assert min(float(part) for part in distiller.parts.values()) > 1e-6


@pytest.mark.parametrize("head", ["ForSequenceClassification", "ForCTC"])
def test_an_utterance_teaches_the_same_alone_and_in_a_padded_batch(head):
    teacher, student = tiny_model("hubert", head, "layer"), tiny_model("hubert", head, "layer", hidden_size=8)
    distiller = Distiller(DistillationConfig(losses=FOR_ALL_MODELS), teacher, student)
    both = audio(6400, 4000)
    alone = []
    for index, length in enumerate((6400, 4000)):
        distil(distiller, student, {key: value[index : index + 1, :length] for key, value in both.items()})
        alone.append(distiller.parts)
    distil(distiller, student, both)
    for name, part in distiller.parts.items():
        mean = (alone[0][name] + alone[1][name]) / 2
        assert abs(float(part - mean)) <= 1e-6 * max(1.0, float(mean)), name


def test_lengths_replace_an_attention_mask_for_models_that_take_none():
    teacher, student = tiny_model("hubert", "Model"), tiny_model("hubert", "Model")
    distiller = Distiller(DistillationConfig(losses={"l1": 1.0}), teacher, student)
    inputs = {"input_values": audio(6000, 4000)["input_values"]}
    whole = float(distil(distiller, student, inputs).detach())
    masked = float(
        distil(distiller, student, inputs | {"input_lengths": torch.tensor([6000, 4000])}).detach()
    )
    assert whole != pytest.approx(masked, rel=1e-3)
    distiller.parts.clear()
    heard = inputs | {"teacher_input_values": audio(6000, 4000, seed=2)["input_values"]}
    assert float(distil(distiller, student, heard).detach()) != pytest.approx(whole, rel=1e-3)


def test_default_layers_are_the_ends_and_thirds_of_both_models():
    teacher = tiny_model(num_hidden_layers=6)
    student = tiny_model(num_hidden_layers=3)
    config = DistillationConfig(losses={"l1": 1.0, "layer_gram": 1.0})
    distiller = Distiller(config, teacher, student)
    assert distiller.layers == ((0, 0), (1, 2), (2, 4), (3, 6))
    assert distiller.relation_layers == ((0, 0), (1, 2), (2, 4), (3, 6))
    heads = DistillationConfig(losses={"l1": 1.0}, projection="heads")
    assert Distiller(heads, teacher, student).layers == ((3, 2), (3, 4), (3, 6))


def test_models_that_do_not_fit_are_refused():
    teacher, student = tiny_model(), tiny_model(hidden_size=8)
    with pytest.raises(DistillationError, match="states have 8 channels, the teacher's 16"):
        Distiller(DistillationConfig(projection="none"), teacher, student)
    relations = DistillationConfig(projection="none", losses={"layer_gram": 1.0})
    assert distil(Distiller(relations, teacher, student), student, audio(4000)).requires_grad
    with pytest.raises(DistillationError, match="layer 7 is asked of a HubertModel with 3 encoder layers"):
        Distiller(DistillationConfig(layers=[0, 7]), teacher, student)
    other = tiny_model(num_labels=2)
    distiller = Distiller(DistillationConfig(losses={"logits": 1.0}), teacher, other)
    with pytest.raises(DistillationError, match=r"logits: the student gives \(1, 2\), the teacher \(1, 5\)"):
        distil(distiller, other, audio(4000))
    distiller = Distiller(DistillationConfig(losses={"logits": 1.0}, logit_groups=[3, 3]), teacher, student)
    with pytest.raises(DistillationError, match="logit_groups: 6 logits in groups, but the models have 5"):
        distil(distiller, student, audio(4000))
    with pytest.raises(DistillationError, match="was not heard"):
        distiller.loss(audio(4000), None)
    bare = tiny_model("hubert", "Model")
    distiller = Distiller(DistillationConfig(losses={"logits": 1.0}), teacher, bare)
    with pytest.raises(DistillationError, match="a loss on logits needs models that give them"):
        distil(distiller, bare, audio(4000))
    frozen = tiny_model().requires_grad_(False)
    distiller = Distiller(DistillationConfig(), teacher, frozen)
    with pytest.raises(DistillationError, match="carry no gradient"):
        distil(distiller, frozen, audio(4000))


def test_a_layer_without_heads_is_left_out_of_the_attention_loss(tmp_path):
    teacher = tiny_model(num_labels=2)
    student = prune_ssl.resize(teacher, trace(teacher), {"layer.1.heads": []})
    distiller = Distiller(DistillationConfig(losses={"attention": 1.0}), teacher, student)
    assert distiller._student_taps.maps == [1, 3]
    assert distil(distiller, student, audio(4000)).requires_grad


def test_models_that_read_no_waveforms_or_are_not_of_transformers_are_refused():
    for model in (tiny_model("wav2vec2-bert", "ForCTC"), torchaudio.models.hubert_base()):
        with pytest.raises(DistillationError, match="wanted a model of transformers that reads waveforms"):
            Distiller(DistillationConfig(losses={"logits": 1.0}), model, copy.deepcopy(model))


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # of stock WavLM
@pytest.mark.parametrize(
    "family", ["wavlm", "data2vec-audio", "sew", "sew-d", "wav2vec2-conformer", "wav2vec2-adapter"]
)
def test_other_families_are_distilled(family):
    teacher, student = tiny_model(family, "ForCTC"), tiny_model(family, "ForCTC")
    layers = range(2, 4) if family.startswith("sew") else None
    losses = {name: 1.0 for name in FOR_ALL_MODELS if name != "attention"}
    config = DistillationConfig(losses=losses, relation_layers=layers)
    distiller = Distiller(config, teacher, student)
    both = audio(7000, 5000)
    distil(distiller, student, both).backward()
    assert all(float(part) > 0 for part in distiller.parts.values())
    maps = DistillationConfig(losses={"attention": 1.0})
    if family in ("data2vec-audio", "sew", "wav2vec2-adapter"):
        assert Distiller(maps, teacher, student).relation_layers
    else:
        with pytest.raises(DistillationError, match="relative positions"):
            Distiller(maps, teacher, student)
