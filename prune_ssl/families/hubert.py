"""HuBERT: wav2vec 2.0 with a feature projection that returns one tensor."""

from dataclasses import replace

from prune_ssl.families.wav2vec2 import HEAD_READERS, WAV2VEC2, classes

HUBERT = replace(
    WAV2VEC2,
    name="hubert",
    classes=classes("Hubert"),
    head_readers=HEAD_READERS,
    last_conv_readers=(),
    projection_pair=False,
)
