"""Whisper's encoder: two convolutions over a log-mel spectrogram of fixed length, then pre-norm layers."""

from prune_ssl.models.family import AttentionRoles, Classes, Family, FeedForwardRoles
from prune_ssl.models.inputs import LogMel

WHISPER = Family(
    name="whisper",
    classes=Classes(
        config="WhisperConfig",
        bare="models.whisper.modeling_whisper.WhisperEncoder",
        heads=(("WhisperForAudioClassification", "AutoModelForAudioClassification"),),
    ),
    input=LogMel("num_mel_bins", "max_source_positions", "WhisperFeatureExtractor"),
    inside="encoder",
    conv="conv{n}",
    layer="layers.{i}",
    attention=AttentionRoles(path="self_attn"),
    ffns=(FeedForwardRoles(first="fc1", second="fc2", field="encoder_ffn_dim"),),
    residual=("embed_positions.weight",),
    even_width=True,
    sections=(("conv", "frontend"), ("embed_positions", "position"), ("layer", "encoder")),
    head_readers=(("ForAudioClassification", "projector"),),
)
