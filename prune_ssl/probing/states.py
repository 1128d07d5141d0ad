"""The hidden states of a frozen encoder, computed once per clip if they fit into memory.

Letters: L+1 hidden states, T frames, D their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from prune_ssl.data import Clip, Corruption, SpeechCollator
from prune_ssl.data.seeding import phase_key, random_by
from prune_ssl.distillation import Projections
from prune_ssl.models import backbone_of
from prune_ssl.probing.features import Features
from prune_ssl.probing.settings import FeatureKind

MEMORY_BYTES = 2 << 30
"""The memory for kept states, 2 GiB."""


class FrozenStates:
    """All hidden states of clips, from an encoder in eval mode that is never trained.

    Args:
        model: A dense or pruned model, bare or with a head. A removed layer still returns its input as a
            hidden state, so that there are always L+1 states.
        collator: Makes the model's inputs.
        memory_bytes: States are kept up to this size. Those of further clips are computed each time.
        features: Which states.
        projections: The kept maps of a student, for the features `projected`.
        corruption: Noise and rooms in which each clip is heard, always the same for one clip.

    Raises:
        DataError: the features `projected` lack their maps.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        collator: SpeechCollator,
        memory_bytes: int = MEMORY_BYTES,
        features: FeatureKind = "sum",
        projections: Projections | None = None,
        corruption: Corruption | None = None,
    ) -> None:
        backbone = cast(PreTrainedModel, backbone_of(model)[1])
        self.encoder = backbone.eval()
        self.features = Features(features, backbone, projections)
        self.collator = collator
        self.corruption = corruption
        self.left = memory_bytes
        self.kept: dict[Clip, torch.Tensor] = {}

    @property
    def device(self) -> torch.device:
        """The device of the encoder, on which heads learn too."""
        found: torch.device = next(self.encoder.parameters()).device
        return found

    def of_clip(self, clip: Clip) -> torch.Tensor:
        """Return the states (L+1, T, D) of one clip, without padding, on the CPU."""
        if clip not in self.kept:
            states = self._compute(clip)
            size = states.numel() * states.element_size()
            if size > self.left:
                return states
            self.left -= size
            self.kept[clip] = states
        return self.kept[clip]

    def batch(self, clips: Sequence[Clip]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return states (B, L+1, T, D), padded with zeros after each clip's end, and frames (B,).

        Both are on the encoder's device.
        """
        each = [self.of_clip(clip).transpose(0, 1) for clip in clips]
        frames = torch.tensor([len(states) for states in each])
        padded = pad_sequence(each, batch_first=True).transpose(1, 2)
        return padded.to(self.device), frames.to(self.device)

    def _compute(self, clip: Clip) -> torch.Tensor:
        # One clip at a time, because in models without a mask padding would change the states.
        samples = clip.waveform()
        if self.corruption is not None:
            with random_by([0], phase_key(str(clip.path))):
                samples = self.corruption(samples)
        audio = self.collator([{"input_values": samples}])[self.collator.name]
        weights = next(self.encoder.parameters())
        return self.features(audio.to(device=weights.device, dtype=weights.dtype)).float().cpu()
