"""The table of families: whose is a model, where its backbone is, how its input is shaped."""

from types import SimpleNamespace

import pytest
from torch import nn

from prune_ssl.errors import ModelError
from prune_ssl.models.registry import FAMILIES, backbone_of, family_of, head_reader_of, input_shape
from tests.support.models import CASES, HEADS, ONE_OF_EACH, tiny_model
from tests.support.torchaudio_models import tiny as torchaudio_model


@pytest.mark.parametrize(("family", "head", "norm"), ONE_OF_EACH)
def test_a_model_is_of_its_family_and_has_its_backbone(family: str, head: str, norm: str) -> None:
    model = tiny_model(family, head, norm)
    assert family_of(model) is FAMILIES[family]
    path, backbone = backbone_of(model)
    assert model.get_submodule(path) is backbone
    assert path in ("", FAMILIES[family].inside, model.base_model_prefix)
    assert path or head == "Model"
    assert backbone_of(backbone) == ("", backbone)


def test_torchaudios_models_are_known_by_what_they_are_made_of() -> None:
    plain, biased = torchaudio_model(), torchaudio_model(wavlm=True)
    assert family_of(plain) is not family_of(biased)
    for model in (plain, biased):
        assert family_of(model).recognises(model)
        assert backbone_of(model)[1] in list(model.modules())


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Linear(2, 2), "Linear .*no Hugging Face config"),
        (SimpleNamespace(config=SimpleNamespace(model_type="bert")), "model_type 'bert'"),
        (SimpleNamespace(config=SimpleNamespace(model_type=3)), "model_type 3"),
    ],
)
def test_a_stranger_is_refused_with_the_families_that_there_are(model: object, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        family_of(model)  # type: ignore[arg-type]
    assert all(name in str(caught.value) for name in ("wav2vec2", "hubert", "wavlm"))


def test_a_model_without_a_backbone_is_refused() -> None:
    model = tiny_model()
    del model.hubert
    with pytest.raises(ModelError, match="hubert"):
        backbone_of(model)


@pytest.mark.parametrize("family", HEADS)
def test_the_reader_of_each_head_is_a_linear_of_the_model(family: str) -> None:
    for head in {head for name, head, _ in CASES if name == family}:
        model = tiny_model(family, head)
        path = head_reader_of(model, FAMILIES[family])
        if head == "Model":
            assert path is None
        elif path is not None:
            assert isinstance(model.get_submodule(path), nn.Linear)


def test_the_input_of_a_stranger_is_taken_for_samples() -> None:
    assert input_shape(nn.Linear(2, 2), 0.5) == (1, 8_000)
    assert input_shape(tiny_model(), 0.5) == (1, 8_000)
    bert = tiny_model("wav2vec2-bert", "ForCTC")
    assert input_shape(bert, 0.5)[2] == bert.config.feature_projection_input_dim
