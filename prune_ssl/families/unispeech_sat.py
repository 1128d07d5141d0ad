"""UniSpeech-SAT: as UniSpeech, with a quantiser that reads the residual."""

from dataclasses import replace

from prune_ssl.families.wav2vec2 import HEAD_READERS, WAV2VEC2, classes

UNISPEECH_SAT = replace(
    WAV2VEC2,
    name="unispeech-sat",
    classes=classes("UniSpeechSat", "ForAudioFrameClassification", "ForPreTraining"),
    head_readers=HEAD_READERS,
    last_conv_readers=(),
)
