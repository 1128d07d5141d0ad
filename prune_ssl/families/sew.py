"""SEW: the encoder runs on squeezed frames, and an upsampling behind it stretches them again."""

from dataclasses import replace

from prune_ssl.families.wav2vec2 import HEAD_READERS, WAV2VEC2, classes

SEW = replace(
    WAV2VEC2,
    name="sew",
    classes=classes("SEW"),
    head_readers=HEAD_READERS,
    last_conv_readers=(),
    projection="feature_projection",
    projection_flag="project_features",
    squeeze="squeeze_factor",
    upsampling="encoder.upsample.projection",
)
