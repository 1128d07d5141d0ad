"""Wav2Vec2-BERT: a conformer that reads stacked frames of a log-mel filterbank, without convolutions."""

from dataclasses import replace

from prune_ssl.families.conformer import CONFORMER
from prune_ssl.families.wav2vec2 import classes
from prune_ssl.models.family import ConvolutionRoles
from prune_ssl.models.inputs import Filterbank

BERT = replace(
    CONFORMER,
    name="wav2vec2-bert",
    classes=classes("Wav2Vec2Bert", "ForAudioFrameClassification"),
    input=Filterbank(stack=2, width_field="feature_projection_input_dim"),
    conv="",
    last_conv_readers=(),
    position_convs="",
    convolution=ConvolutionRoles(norm="depthwise_layer_norm"),
)
