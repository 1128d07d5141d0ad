"""Tiny random models of torchaudio, and the two sides of the first law for them."""

import torch
import torchaudio

from prune_ssl import PruningConfig, attach_gates, resize
from tests.support.keeps import ALL

SHAPE = {
    "extractor_conv_layer_config": [(12, 10, 5), (10, 3, 2), (8, 3, 2), (9, 2, 2)],
    "encoder_embed_dim": 16,
    "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 4,
    "encoder_pos_conv_groups": 2,
    "encoder_num_layers": 3,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.0,
    "encoder_ff_interm_features": 24,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.0,
    "encoder_layer_drop": 0.0,
}


def tiny(mode="group_norm", outputs=None, wavlm=False):
    make = torchaudio.models.wavlm_model if wavlm else torchaudio.models.wav2vec2_model
    model = make(
        extractor_mode=mode,
        extractor_conv_bias=mode == "layer_norm",
        encoder_layer_norm_first=mode == "layer_norm",
        aux_num_out=outputs,
        **SHAPE,
        **({"encoder_num_buckets": 12, "encoder_max_distance": 20} if wavlm else {}),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def masked_and_resized(model, graph, keep, audio, lengths=None):
    gates = attach_gates(model, graph, PruningConfig(budget="macs=100%", round_to=1, kinds=ALL)).double()
    gates.hold(keep)
    with torch.no_grad():
        masked = model.get_submodule(graph.backbone)(audio, lengths)[0]
        gates.detach()
        resized = resize(model, graph, keep).get_submodule(graph.backbone)(audio, lengths)[0]
    return masked, resized
