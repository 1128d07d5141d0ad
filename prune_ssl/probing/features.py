"""The features of a frozen encoder that a probe reads: all hidden states, the last one, or projected ones.

Letters: S states, T frames, D their width.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from prune_ssl.distillation import Projections, Taps
from prune_ssl.errors import DataError
from prune_ssl.probing.settings import FeatureKind


class Features:
    """The states of one clip, as a probe reads them.

    Args:
        kind: Which states.
        encoder: The bare encoder.
        projections: The kept maps of a student, for `projected`.

    Raises:
        DataError: `projected` without maps, or maps of another width.
    """

    def __init__(
        self, kind: FeatureKind, encoder: PreTrainedModel, projections: Projections | None = None
    ) -> None:
        self.kind, self.encoder, self.projections = kind, encoder, projections
        if kind != "projected":
            return
        if projections is None:
            raise DataError("features: `projected` needs the maps that a distillation has kept: give them")
        width = int(encoder.config.hidden_size)
        if projections.widths[0] != width:
            raise DataError(
                f"features: the kept projections read {projections.widths[0]} channels, and the encoder has "
                f"{width}: they are of another model"
            )
        self.taps = Taps(encoder, {own for own, _ in projections.pairs}, ())

    @torch.no_grad()
    def __call__(self, audio: torch.Tensor) -> torch.Tensor:
        """Return the states (S, T, D) of one clip, in the encoder's dtype and on its device."""
        if self.kind == "projected":
            assert self.projections is not None
            with self.taps.listening() as tapped:
                self.encoder(audio)
            maps = self.projections.to(audio.device, next(self.encoder.parameters()).dtype)
            return torch.cat(maps(tapped.states))
        outputs = self.encoder(audio, output_hidden_states=self.kind == "sum")
        return torch.cat(outputs.hidden_states) if self.kind == "sum" else outputs.last_hidden_state
