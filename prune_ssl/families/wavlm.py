"""WavLM: a position bias that all layers share, gated by each head's slice of the residual stream."""

from dataclasses import replace

from prune_ssl.families.wav2vec2 import HEAD_READERS, WAV2VEC2, classes
from prune_ssl.families.wavlm_attention import PrunedWavLMAttention
from prune_ssl.models.family import AttentionRoles

WAVLM = replace(
    WAV2VEC2,
    name="wavlm",
    classes=classes("WavLM", "ForAudioFrameClassification"),
    attention=AttentionRoles(
        per_head=(("gru_rel_pos_const", 1),),
        by_slices="gru_rel_pos_linear",
        shared=("rel_attn_embed",),
        opened=PrunedWavLMAttention,
        positions=True,
    ),
    head_readers=HEAD_READERS,
    last_conv_readers=(),
    layers_return_bias=True,
)
