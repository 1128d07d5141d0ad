"""Loading models: the head that a folder holds is kept, dropped by request, or named in one error."""

import pytest
import torch
from safetensors.torch import save_file

from prune_ssl.models import load_model
from prune_ssl.models.origin import origin_of
from tests.support.models import batch, first_output, tiny_model
from tests.support.saved import change_weights, error_of, saved

OWN_CLASSES = [
    ["Wav2Vec2ForSpeechClassification"],
    ["MyModel", "OtherModel"],
    ["hubertforsequenceclassification"],
    ["HubertModel"],
    ["HubertForCTC"],
    ["HubertForCTC", "HubertForSequenceClassification"],
    ["BertModel"],
    [],
    None,
]


@pytest.mark.parametrize("names", OWN_CLASSES, ids=str)
def test_a_head_that_the_named_class_would_lose_is_refused_and_the_fitting_class_named(tmp_path, names):
    folder = saved(tmp_path / "m", architectures=names)
    error = error_of(folder)
    assert "classifier.weight" in error
    assert "HubertForSequenceClassification" in error
    assert "--head drop" in error
    assert "head='drop'" in error
    bare = load_model(folder, head="drop")
    assert type(bare).__name__ == "HubertModel"
    assert origin_of(bare).head.startswith("dropped by request (classifier, projector")


def test_a_head_of_the_authors_own_that_no_class_has_is_refused_with_its_keys(tmp_path):
    folder = saved(tmp_path / "m", "wav2vec2", "Model", architectures=["Wav2Vec2ForSpeechClassification"])
    model = tiny_model("wav2vec2", "ForSequenceClassification")
    tensors = {k: v for k, v in model.state_dict().items() if k.startswith("wav2vec2.")}
    tensors |= {
        "classifier.dense.weight": torch.randn(16, 16),
        "classifier.out_proj.weight": torch.randn(4, 16),
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    error = error_of(folder)
    assert "classifier.dense.weight, classifier.out_proj.weight" in error
    assert "no class of transformers has such a head" in error
    dropped = load_model(folder, head="drop")
    assert torch.equal(first_output(dropped, **batch(dropped, 4000)).isnan().any(), torch.tensor(False))


def test_more_head_than_the_named_class_has_is_refused(tmp_path):
    folder = saved(tmp_path / "m")
    change_weights(folder, lambda tensors: {**tensors, "pooling.attention.weight": torch.ones(3, 3)})
    assert "pooling.attention.weight" in error_of(folder)
