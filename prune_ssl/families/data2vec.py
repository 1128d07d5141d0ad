"""Data2Vec for audio: a stack of positional convolutions, each with a norm without parameters."""

from dataclasses import replace

from prune_ssl.families.wav2vec2 import HEAD_READERS, WAV2VEC2, classes

DATA2VEC = replace(
    WAV2VEC2,
    name="data2vec-audio",
    classes=classes("Data2VecAudio", "ForAudioFrameClassification"),
    head_readers=HEAD_READERS,
    last_conv_readers=(),
    position_convs="encoder.pos_conv_embed.layers.{i}.conv",
)
