"""Tiny random models of every supported family, audio for them, and how two outputs differ."""

import hashlib
from typing import Any

import torch
from transformers import PreTrainedModel, Wav2Vec2FeatureExtractor

from prune_ssl.models.registry import FAMILIES, family_of
from prune_ssl.models.xvector import model_class
from tests.support.slow import slow_but

EXTRACTOR = Wav2Vec2FeatureExtractor()
SUFFIXES = (
    "Model",
    "ForCTC",
    "ForSequenceClassification",
    "ForAudioFrameClassification",
    "ForXVector",
    "ForPreTraining",
    "ForAudioClassification",
)


def class_named(family: str, suffix: str) -> Any:
    """A model class of a family by its suffix, or None; of x-vector models it may be one of ours."""
    classes = FAMILIES[family].classes
    if suffix == "Model" or classes is None:
        return None if classes is None else model_class(classes.bare)
    return next((model_class(name) for name, _ in classes.heads if name.endswith(suffix)), None)


HEADS = {name: [suffix for suffix in SUFFIXES if class_named(name, suffix) is not None] for name in FAMILIES}
HEADS["unispeech-sat"].remove(
    "ForPreTraining"
)  # transformers' forward only hands out the frontend's features
# Families whose frontend and encoder have a second form, as the Large models have it; of the first two every
# head is tried in both.
WITH_NORMS = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat")
CASES = [
    (family, head, norm)
    for family, heads in HEADS.items()
    for head in heads
    for norm in ("group", "layer")
    if norm == "group" or family in WITH_NORMS[:2] or (family in WITH_NORMS and head == "Model")
]
# Forms of a family that its config switches between.
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2-conformer-rotary": ("wav2vec2-conformer", {"position_embeddings_type": "rotary"}),
    "wav2vec2-conformer-none": ("wav2vec2-conformer", {"position_embeddings_type": None}),
    "wav2vec2-bert-relative": ("wav2vec2-bert", {"position_embeddings_type": "relative"}),
    "wav2vec2-mms": ("wav2vec2", {"adapter_attn_dim": 5, "do_stable_layer_norm": True}),
    "wav2vec2-adapter": ("wav2vec2", {"add_adapter": True, "num_adapter_layers": 2}),
    "wav2vec2-bert-adapter": ("wav2vec2-bert", {"add_adapter": True, "num_adapter_layers": 2}),
    "sew-plain": ("sew", {"squeeze_factor": 1}),
    "sew-d-own-positions": ("sew-d", {"share_att_key": False}),
}


def a_head_of(family: str) -> str:
    """The head that a family is tried with where any will do: CTC where there is one."""
    family = FORMS.get(family, (family, {}))[0]
    return "ForCTC" if "ForCTC" in HEADS[family] else HEADS[family][-1]


# One of every family, for what does not depend on the head.
ONE_OF_EACH = [(family, a_head_of(family), "group") for family, heads in HEADS.items() if heads]
OF_FORMS = [(form, "ForCTC", "group") for form in FORMS]
# Every family, head and form; in the fast suite all families, one head of each, all of one family.
ALL_CASES = slow_but(
    [
        *ONE_OF_EACH,
        *((form, "ForCTC", "group") for form in FORMS),
        *(case for case in CASES if case[0] == "hubert"),
    ],
    [*CASES, *((form, "ForCTC", "group") for form in FORMS)],
)

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
MORE: dict[str, dict[str, Any]] = {
    "whisper": {
        "encoder_ffn_dim": 24,
        "num_mel_bins": 10,
        "max_source_positions": 50,
        "decoder_layers": 1,
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 0),
    },
    "wav2vec2": {
        "codevector_dim": 8,
        "proj_codevector_dim": 8,
        "num_codevectors_per_group": 4,
        "tdnn_dim": (16, 16, 16, 16, 20),
        "xvector_output_dim": 16,
    },
    "wavlm": {"num_buckets": 12, "max_bucket_distance": 20},
    "data2vec-audio": {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 3},
    "sew": {"conv_stride": (5, 2, 2, 2, 2, 2, 2), "conv_kernel": (10, 3, 3, 3, 3, 2, 2)},
    "sew-d": {
        "conv_stride": (5, 2, 2, 2, 2, 2, 2),
        "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
        "position_buckets": 6,
        "max_position_embeddings": 64,
    },
    "wav2vec2-conformer": {"conv_depthwise_kernel_size": 3, "max_source_positions": 120},
    "wav2vec2-bert": {
        "conv_depthwise_kernel_size": 3,
        "max_source_positions": 120,
        "feature_projection_input_dim": 10,
        "left_max_position_embeddings": 6,
        "right_max_position_embeddings": 3,
    },
}
for _family in (
    "unispeech",
    "unispeech-sat",
    "wav2vec2-conformer",
    "wavlm",
    "data2vec-audio",
    "wav2vec2-bert",
):
    MORE[_family] = MORE["wav2vec2"] | MORE.get(_family, {})
MORE["unispeech"]["num_ctc_classes"] = 7
for _family in ("hubert", "sew", "sew-d"):
    _sizes = {name: MORE["wav2vec2"][name] for name in ("tdnn_dim", "xvector_output_dim")}
    MORE[_family] = _sizes | MORE.get(_family, {})


def tiny_model(
    family: str = "hubert", head: str = "ForSequenceClassification", norm: str = "group", **more: Any
) -> PreTrainedModel:
    """A random tiny model whose parameters are all away from zero, in eval mode."""
    family, form = FORMS.get(family, (family, {}))
    table = FAMILIES[family]
    fields = TINY | MORE.get(family, {}) | form
    if table.conv and not table.states_conv_widths:
        del fields["conv_dim"]
    if family in WITH_NORMS:
        large = norm == "layer"
        fields |= {"feat_extract_norm": norm, "conv_bias": large} | (
            {} if "do_stable_layer_norm" in form else {"do_stable_layer_norm": large}
        )
    config = table.stock("config")(**(fields | more))
    model: PreTrainedModel = class_named(family, head)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def batch(
    model: torch.nn.Module, samples: int = 8000, padded: bool = False, rows: int = 2
) -> dict[str, torch.Tensor]:
    """Random audio for a model (features for one that takes them), the second row padded on demand."""
    dtype, family = next(model.parameters()).dtype, family_of(model)
    shape = family.input.shape(samples / 16_000, model.config)[1:]
    audio = torch.randn((rows, *shape), dtype=dtype)
    name, mask_name, time = model.main_input_name, family.input.mask, family.input.time_axis
    if not padded or time is None:
        return {name: audio}
    length = audio.shape[time]
    mask = torch.ones(rows, length, dtype=torch.long)
    mask[1, length * 3 // 4 :] = 0
    spread = [rows] + [1] * (audio.dim() - 1)
    spread[time] = length
    return {name: audio * mask.view(spread), mask_name: mask}


def first_output(model: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
    """The logits or last hidden state."""
    with torch.no_grad():
        outputs = model(*args, **kwargs)
    return next(value for value in outputs.values() if isinstance(value, torch.Tensor) and value.dim() >= 2)


def checksum(model: torch.nn.Module) -> str:
    """Return a hash of all weights."""
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        total.update(name.encode() + value.detach().contiguous().numpy().tobytes())
    return total.hexdigest()


def relative_difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """max |found - wanted| / max |wanted|."""
    return float((found - wanted).abs().max() / wanted.abs().max())
