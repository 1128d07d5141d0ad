"""OmniASR's audio encoder: wav2vec 2.0 by other names; its input has an axis of channels, its mask a name."""

from dataclasses import replace

from prune_ssl.families.wav2vec2 import WAV2VEC2
from prune_ssl.models.family import Classes
from prune_ssl.models.inputs import Waveform

OMNIASR = replace(
    WAV2VEC2,
    name="omniasr_audio",
    classes=Classes(config="OmniASRAudioConfig", bare="OmniASRAudioModel"),
    input=Waveform(channel_axis=True, mask="padding_mask", extractor="OmniASRFeatureExtractor"),
    conv="subsampling.conv_layers.{i}.conv",
    projection="subsampling.projection",
    layer="layers.{i}",
    bottlenecks=(),
    position_convs="encode_positions.conv",
    residual=(),
    sections=(
        ("subsampling.projection", "projection"),
        ("subsampling", "frontend"),
        ("encode_positions", "position"),
        ("layer", "encoder"),
    ),
    head_readers=(),
    last_conv_readers=(),
    adapter="",
    lacks=(),
)
