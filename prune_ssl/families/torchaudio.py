"""torchaudio's wav2vec 2.0, HuBERT and WavLM, which have no config: they are known by their class."""

from dataclasses import replace

from torch import nn
from torchaudio.models.wav2vec2.components import LayerNorm
from torchaudio.models.wav2vec2.wavlm_attention import WavLMSelfAttention

from prune_ssl.families.wav2vec2 import WAV2VEC2
from prune_ssl.families.wavlm_attention import FusedWavLMAttention, PositionBias
from prune_ssl.models.family import AttentionRoles, Family


def _has_position_bias(model: nn.Module) -> bool:
    return any(isinstance(module, WavLMSelfAttention | PositionBias) for module in model.modules())


def _has_none(model: nn.Module) -> bool:
    return not _has_position_bias(model)


TORCHAUDIO = Family(
    name="torchaudio",
    library="torchaudio",
    recognises=_has_none,
    inside="wav2vec2",
    conv=WAV2VEC2.conv,
    projection="encoder.feature_projection.projection",
    layer="encoder.transformer.layers.{i}",
    attention=AttentionRoles(size_scales=("q_proj",)),
    ffns=WAV2VEC2.ffns,
    position_convs="encoder.transformer.pos_conv_embed.conv",
    sections=(
        ("feature_extractor", "frontend"),
        ("encoder.feature_projection", "projection"),
        ("encoder.transformer.pos_conv_embed", "position"),
        ("encoder", "encoder"),
    ),
    head_readers=(("", "aux"),),
    channel_norms=(LayerNorm,),
    layers_return_bias=True,
)
TORCHAUDIO_WAVLM = replace(
    TORCHAUDIO,
    name="torchaudio-wavlm",
    recognises=_has_position_bias,
    attention=AttentionRoles(
        fused="attention",
        values="attention",
        output="attention.out_proj",
        per_head=(("gru_rel_pos_const", 1),),
        by_slices="gru_rel_pos_linear",
        shared=("rel_attn_embed",),
        opened=FusedWavLMAttention,
        positions=True,
    ),
)
