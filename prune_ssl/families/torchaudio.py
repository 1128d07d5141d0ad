"""torchaudio's wav2vec 2.0, HuBERT and WavLM."""

from dataclasses import replace

from torchaudio.models.wav2vec2.components import LayerNorm as TransposedLayerNorm
from torchaudio.models.wav2vec2.wavlm_attention import WavLMSelfAttention

from prune_ssl.families.family import AttentionRoles, Family

MODULES = "torchaudio.models.wav2vec2"
"""Its classes are in modules whose names begin so."""
OUTER = "wav2vec2"
"""Attribute of its pretraining model that holds the backbone."""
FUSED_ATTENTION = WavLMSelfAttention
CHANNELS_FIRST_NORM = TransposedLayerNorm

TORCHAUDIO = Family(
    name="torchaudio",
    library="torchaudio",
    projection="encoder.feature_projection.projection",
    layer="encoder.transformer.layers.{i}",
    attention=AttentionRoles(size_scales=("q_proj",)),
    position_convs="encoder.transformer.pos_conv_embed.conv",
    residual=(),
    sections=(
        ("feature_extractor", "frontend"),
        ("encoder.feature_projection", "projection"),
        ("encoder.transformer.pos_conv_embed", "position"),
        ("encoder", "encoder"),
    ),
    head_readers=(("", "aux"),),
    layers_return_bias=True,
)
TORCHAUDIO_WAVLM = replace(
    TORCHAUDIO,
    name="torchaudio-wavlm",
    attention=AttentionRoles(
        fused="attention",
        values="attention",
        output="attention.out_proj",
        per_head=(("gru_rel_pos_const", 1),),
        by_slices="gru_rel_pos_linear",
        style="position bias",
        positions=True,
    ),
)
