"""The small HuBERT: a frontend of three narrow convolutions, and a head that predicts clusters of frames."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import HubertConfig, HubertModel, HubertPreTrainedModel
from transformers.modeling_outputs import ModelOutput

from prune_ssl.models.filterbank import pass_on_, start_as_filterbank_

HOP = 320
"""Samples from one frame to the next: 50 frames a second."""
SHAPE: dict[str, Any] = {
    "conv_dim": [64, 128, 192],
    "conv_kernel": [240, 4, 3],  # the first makes 200 frames a second: a hundredth of the usual frontend
    "conv_stride": [80, 2, 2],
    "num_feat_extract_layers": 3,
    "do_stable_layer_norm": True,  # layer norms throughout: no statistic depends on the padding of a batch
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "hidden_size": 192,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "intermediate_size": 768,
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 12,
    "classifier_proj_size": 192,
    "hidden_dropout": 0.05,
    "activation_dropout": 0.0,
    "attention_dropout": 0.05,
    "feat_proj_dropout": 0.0,
    "final_dropout": 0.0,
    "layerdrop": 0.0,
    "mask_time_length": 10,
}
"""2.9 million parameters and 0.18 GMACs a second."""


@dataclass
class Predicted(ModelOutput):
    """The outputs of `MaskedPrediction`."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    """Scores of the clusters (B, T, K)."""


class MaskedPrediction(HubertPreTrainedModel):
    """A HubertModel that predicts the cluster of each masked frame (Hsu et al., HuBERT, equation 1).

    Args:
        config: The shape; `num_labels` is the number of clusters.
        unmasked_weight: The weight of the loss on the other frames.
    """

    def __init__(self, config: HubertConfig, unmasked_weight: float = 0.0) -> None:
        super().__init__(config)
        self.hubert = HubertModel(config)
        self.clusters = nn.Linear(config.hidden_size, config.num_labels)
        self.unmasked_weight = unmasked_weight
        self.post_init()

    def forward(
        self,
        input_values: torch.Tensor,
        mask_time_indices: torch.Tensor,
        labels: torch.Tensor | None = None,
    ) -> Predicted:
        """Return the scores, and the loss if there are labels.

        Args:
            input_values: Samples (B, N) without padding.
            mask_time_indices: Whether each frame is masked (B, T).
            labels: The cluster of each frame (B, T).
        """
        states = self.hubert(input_values, mask_time_indices=mask_time_indices).last_hidden_state
        logits = self.clusters(states)
        if labels is None:
            return Predicted(logits=logits)
        loss = nn.functional.cross_entropy(logits[mask_time_indices], labels[mask_time_indices])
        if self.unmasked_weight:
            rest = ~mask_time_indices
            loss = loss + self.unmasked_weight * nn.functional.cross_entropy(logits[rest], labels[rest])
        return Predicted(loss=loss, logits=logits)


def new_model(clusters: int, unmasked_weight: float = 0.0, **changes: Any) -> MaskedPrediction:
    """Return a model whose first convolution starts as mel filters."""
    config = HubertConfig(**{**SHAPE, **changes}, num_labels=clusters)
    model = MaskedPrediction(config, unmasked_weight)
    start_as_filterbank_(model.hubert)
    pass_on_(model.hubert)
    return model


def receptive_field(config: HubertConfig) -> int:
    """Return the number of samples that one frame of the frontend sees."""
    field, hop = 1, 1
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        field += (kernel - 1) * hop
        hop *= stride
    return field


def frames_of(samples: int, config: HubertConfig) -> int:
    """Return the number of frames of a clip."""
    return max(0, (samples - receptive_field(config)) // HOP + 1)
