"""UniSpeech: wav2vec 2.0 with an objective of its own in pre-training."""

from dataclasses import replace

from prune_ssl.families.wav2vec2 import HEAD_READERS, WAV2VEC2, classes

UNISPEECH = replace(
    WAV2VEC2,
    name="unispeech",
    classes=classes("UniSpeech", "ForPreTraining"),
    head_readers=HEAD_READERS,
)
