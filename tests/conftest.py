"""Tiny random models of every supported family, and the switches that tests need."""

import os
from typing import Any

import pytest
import torch
import transformers
from hypothesis import HealthCheck, settings
from transformers import PreTrainedModel

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)
settings.register_profile(
    "default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=False
)
settings.load_profile("default")

HEADS = {
    "wav2vec2": (
        "Model",
        "ForCTC",
        "ForSequenceClassification",
        "ForAudioFrameClassification",
        "ForXVector",
        "ForPreTraining",
    ),
    "hubert": ("Model", "ForCTC", "ForSequenceClassification"),
}
STEMS = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert"}
CASES = [
    (family, head, norm) for family, heads in HEADS.items() for head in heads for norm in ("group", "layer")
]

TINY: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "conv_dim": (12, 10, 8, 12, 9, 8, 10),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 11,
    "num_labels": 5,
    "classifier_proj_size": 12,
    "layerdrop": 0.0,
    "mask_time_prob": 0.0,
}
ONLY_WAV2VEC2: dict[str, Any] = {
    "codevector_dim": 8,
    "proj_codevector_dim": 8,
    "num_codevectors_per_group": 4,
    "tdnn_dim": (16, 16, 16, 16, 20),
    "xvector_output_dim": 16,
}


def tiny_model(
    family: str = "hubert", head: str = "ForSequenceClassification", norm: str = "group", **more: Any
) -> PreTrainedModel:
    """A random tiny model whose parameters are all away from zero, in eval mode."""
    extra = ONLY_WAV2VEC2 if family == "wav2vec2" else {}
    large = {"feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer", "conv_bias": norm == "layer"}
    config = getattr(transformers, STEMS[family] + "Config")(**(TINY | extra | large | more))
    model: PreTrainedModel = getattr(transformers, STEMS[family] + head)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def first_output(model: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
    """The logits or last hidden state."""
    with torch.no_grad():
        outputs = model(*args, **kwargs)
    return next(value for value in outputs.values() if isinstance(value, torch.Tensor) and value.dim() >= 2)


def relative_difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """max |found - wanted| / max |wanted|."""
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
