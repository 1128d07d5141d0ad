"""Owns the spans of frames that masking distillation hides."""

import torch


def draw_spans(
    lengths: torch.Tensor, frames: int, probability: float, span: int, gap: int = 1
) -> torch.Tensor:
    """Draw spans that do not overlap and lie `gap` frames apart, from torch's global generator.

    The expected share of masked frames is `probability`, as far as gaps leave room (ARM, methods 6.3).

    Args:
        lengths: (B,) valid frames of each utterance.
        frames: T.
        probability: share of frames to mask; the number of spans is rounded at random.
        span: frames of one span.
        gap: frames between two spans at least.

    Returns:
        (B, T) bool, True where masked; never beyond an utterance's end.
    """
    mask = torch.zeros(len(lengths), frames, dtype=torch.bool)
    for row, length in zip(mask, lengths.tolist(), strict=True):
        fitting = (length + gap) // (span + gap)
        count = min(int(probability * length / span + float(torch.rand(()))), fitting)
        # Spans with their gaps are taken out; what is left is split at random places between them.
        slack = length - count * span - max(count - 1, 0) * gap
        places = torch.randint(0, slack + 1, (count,)).sort().values.tolist()
        for index, place in enumerate(places):
            start = place + index * (span + gap)
            row[start : start + span] = True
    return mask
