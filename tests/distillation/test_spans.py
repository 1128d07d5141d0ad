"""Spans of masked frames: inside each utterance, apart, of one length, and as many as asked."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.distillation.spans import draw_spans


def runs(row: torch.Tensor) -> list[tuple[bool, int]]:
    return [(masked, len(list(each))) for masked, each in itertools.groupby(row.tolist())]


@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    probability=st.floats(0, 1),
    span=st.integers(1, 12),
    gap=st.integers(1, 5),
    seed=st.integers(0, 1_000),
)
def test_spans_have_their_length_lie_apart_and_end_with_the_utterance(lengths, probability, span, gap, seed):
    torch.manual_seed(seed)
    mask = draw_spans(torch.tensor(lengths), 60, probability, span, gap)
    assert mask.shape == (len(lengths), 60)
    for row, length in zip(mask, lengths, strict=True):
        assert not row[length:].any()
        found = runs(row[:length])
        assert all(count == span for masked, count in found if masked)
        assert all(count >= gap for masked, count in found[1:-1] if not masked)
        spans = sum(masked for masked, _ in found)
        assert spans <= (length + gap) // (span + gap)
        assert spans <= probability * length / span + 1


@pytest.mark.parametrize(("probability", "span"), [(0.2, 5), (0.4, 10), (0.05, 3)])
def test_the_share_of_masked_frames_is_the_probability(probability: float, span: int) -> None:
    mask = draw_spans(torch.full((2_000,), 97), 97, probability, span)
    assert float(mask.float().mean()) == pytest.approx(probability, rel=0.03)


def test_every_frame_can_be_masked() -> None:
    mask = draw_spans(torch.full((2_000,), 30), 30, 0.4, 4)
    assert mask.any(0).all()
