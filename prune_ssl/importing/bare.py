"""Weights without settings, as torchaudio and fairseq name them: the sizes are read off the shapes."""

import re
from collections.abc import Mapping

import torch

from prune_ssl.importing.settings import Settings

State = dict[str, torch.Tensor]

KNOWN_HEADS = {512: 8, 768: 12, 1024: 16, 1280: 16}
"""Width of a published model -> its heads. The shapes of a dense model do not say how many there are."""
MAX_DISTANCE = 800
"""The farthest distance that WavLM's position bias tells apart, in all published models."""
CONVOLUTION = "feature_extractor.conv_layers.{}.conv.weight"
POSITION = "encoder.transformer.pos_conv_embed.conv."
LAYER = "encoder.transformer.layers."
FUSED = re.compile(r"^(.*\.attention)\.attention\.in_proj_(weight|bias)$")

FROM_FAIRSEQ = (
    (re.compile(r"^w2v_encoder\.(w2v_model\.)?"), ""),
    (re.compile(r"^proj\."), "aux."),
    (re.compile(r"(?<=^feature_extractor\.conv_layers\.)(\d+)\.0\."), r"\1.conv."),
    (re.compile(r"(?<=^feature_extractor\.conv_layers\.)(\d+)\.2\.(1\.)?"), r"\1.layer_norm."),
    (re.compile(r"^layer_norm\."), "encoder.feature_projection.layer_norm."),
    (re.compile(r"^post_extract_proj\."), "encoder.feature_projection.projection."),
    (re.compile(r"^encoder\.pos_conv\.0\."), POSITION),
    (re.compile(r"^encoder\.(?=layers\.|layer_norm\.)"), "encoder.transformer."),
    (re.compile(r"\.self_attn\."), ".attention."),
    (re.compile(r"\.self_attn_layer_norm\."), ".layer_norm."),
    (re.compile(r"\.fc1\."), ".feed_forward.intermediate_dense."),
    (re.compile(r"\.fc2\."), ".feed_forward.output_dense."),
)
"""Patterns that turn fairseq's names into torchaudio's."""
ONLY_FOR_PRETRAINING = re.compile(
    r"^(mask_emb|label_embs_concat|final_proj\.|quantizer\.|project_q\.|target_glu\.|logit_generator\.|mask_generator\.)"
)


def is_fairseq(state: Mapping[str, object]) -> bool:
    """Return whether weights have fairseq's names of a wav2vec 2.0 or a HuBERT."""
    return any(name.endswith("post_extract_proj.weight") for name in state)


def is_torchaudio(state: Mapping[str, object]) -> bool:
    """Return whether weights have torchaudio's names, also within its pretraining model."""
    return any(name.endswith("encoder.feature_projection.projection.weight") for name in state)


def as_torchaudio(state: Mapping[str, torch.Tensor]) -> tuple[State, list[str]]:
    """Return weights under torchaudio's names without those of pretraining, and the names of the latter.

    >>> as_torchaudio({"mask_emb": torch.zeros(1), "post_extract_proj.weight": torch.zeros(1)})[0].keys()
    dict_keys(['encoder.feature_projection.projection.weight'])
    """
    named: State = {}
    patterns = FROM_FAIRSEQ if is_fairseq(state) else ((re.compile(r"^wav2vec2\."), ""),)
    for name, value in state.items():
        for pattern, text in patterns:
            name = pattern.sub(text, name)
        named[name] = value
    left_out = sorted(name for name in named if ONLY_FOR_PRETRAINING.match(name))
    return _apart({name: value for name, value in named.items() if name not in left_out}), left_out


def _apart(state: State) -> State:
    """Return the weights with one projection each for queries, keys and values, where WavLM's are fused."""
    made: State = {}
    for name, value in state.items():
        fused = FUSED.match(name)
        if fused is None:
            made[name.replace(".attention.attention.out_proj.", ".attention.out_proj.")] = value
            continue
        for part, each in zip("qkv", value.chunk(3), strict=True):
            made[f"{fused[1]}.{part}_proj.{fused[2]}"] = each
    return made


def settings_of(state: Mapping[str, torch.Tensor], heads: int | None) -> Settings:
    """Return the settings of a model, read off the shapes of its weights.

    The shapes do not tell the strides (5, then 2), the number of heads (that of the published model of this
    width) and the place of the norms (before the blocks if each convolution has a norm). These are as in all
    published models.

    Args:
        state: the weights under torchaudio's names, as `as_torchaudio` gives them.
        heads: the heads of a dense layer; None takes those of the published model of this width.

    Raises:
        KeyError: a tensor is missing; the error holds its name.
        ValueError: the number of heads is not known, or the shapes contradict each other.
    """
    width = state["encoder.feature_projection.projection.weight"].shape[0]
    table = state.get(f"{LAYER}0.attention.rel_attn_embed.weight")
    if heads is None:
        heads = KNOWN_HEADS.get(width) if table is None else table.shape[1]
    if not heads or width % heads:
        found = "unknown" if not heads else f"{heads} heads"
        raise ValueError(
            f"the weights do not say how many heads a model of width {width} has ({found}): give --heads "
            "(in Python: heads=)"
        )
    fields = _frontend(state) | _position(state, width) | _layers(state, width // heads, heads)
    if table is not None:
        fields |= {"encoder_num_buckets": table.shape[0], "encoder_max_distance": MAX_DISTANCE}
    aux = state.get("aux.weight")
    fields |= {"encoder_embed_dim": width, "aux_num_out": None if aux is None else aux.shape[0]}
    return Settings.model_validate(fields)


def _frontend(state: Mapping[str, torch.Tensor]) -> dict[str, object]:
    convolutions, number = [], 0
    while CONVOLUTION.format(number) in state:
        channels, _, kernel = state[CONVOLUTION.format(number)].shape
        convolutions.append((channels, kernel, 2 if number else 5))
        number += 1
    normed = "feature_extractor.conv_layers.1.layer_norm.weight" in state
    return {
        "extractor_mode": "layer_norm" if normed else "group_norm",
        "extractor_conv_layer_config": convolutions,
        "extractor_conv_bias": "feature_extractor.conv_layers.0.conv.bias" in state,
        "encoder_layer_norm_first": normed,
        "normalize_waveform": normed,
    }


def _position(state: Mapping[str, torch.Tensor], width: int) -> dict[str, object]:
    name = f"{POSITION}weight_v"
    weight = state[name if name in state else f"{POSITION}parametrizations.weight.original1"]
    return {
        "encoder_pos_conv_kernel": weight.shape[2],
        "encoder_pos_conv_groups": width // weight.shape[1],
    }


def _layers(state: Mapping[str, torch.Tensor], head_dim: int, heads: int) -> dict[str, object]:
    numbers = [int(name.removeprefix(LAYER).partition(".")[0]) for name in state if name.startswith(LAYER)]
    layers = range(max(numbers, default=-1) + 1)
    kept, widths = [], []
    for layer in layers:
        queries = state.get(f"{LAYER}{layer}.attention.q_proj.weight")
        neurons = state.get(f"{LAYER}{layer}.feed_forward.intermediate_dense.weight")
        kept.append(0 if queries is None else queries.shape[0] // head_dim)
        widths.append(0 if neurons is None else neurons.shape[0])
    blocks = ("attention.out_proj", kept), ("feed_forward.output_dense", widths)
    fields: dict[str, object] = {
        "leaves_bias": any(
            f"{LAYER}{layer}.{block}.bias" in state
            for block, sizes in blocks
            for layer in layers
            if not sizes[layer]
        ),
        "encoder_num_layers": len(layers),
        "encoder_use_attention": [bool(each) for each in kept],
        "encoder_use_feed_forward": [bool(each) for each in widths],
        "encoder_ff_interm_features": widths,
    }
    if f"{LAYER}0.attention.rel_attn_embed.weight" not in state:
        return fields | {"encoder_num_heads": kept, "encoder_head_dim": head_dim}
    if any(each != heads for each in kept):
        raise ValueError(
            "a WavLM without some of its heads: the weights do not say which heads are left. Apply the plan "
            "to the dense model instead (prune-ssl apply)"
        )
    return fields | {
        "encoder_total_num_heads": [heads] * len(layers),
        "encoder_remaining_heads": [list(range(heads))] * len(layers),
    }
