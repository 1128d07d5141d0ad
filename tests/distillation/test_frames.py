"""What all losses share: the mean over valid frames, and full precision."""

import torch

from prune_ssl.distillation.frames import frame_mean, full_precision


def test_a_padded_batch_has_the_mean_of_what_its_utterances_have_alone() -> None:
    values, lengths = torch.randn(3, 9), (9, 4, 1)
    valid = torch.arange(9) < torch.tensor(lengths)[:, None]
    alone = [float(row[:length].mean()) for row, length in zip(values, lengths, strict=True)]
    torch.testing.assert_close(float(frame_mean(values, valid)), sum(alone) / 3)
    assert abs(float(frame_mean(values, valid)) - float(values.mean())) > 1e-3
    torch.testing.assert_close(frame_mean(values), values.mean())
    torch.testing.assert_close(frame_mean(values, torch.ones(3, 9, dtype=torch.bool)), values.mean())


def test_padding_has_no_gradient_and_an_empty_utterance_counts_as_zero() -> None:
    values = torch.randn(2, 5, requires_grad=True)
    valid = torch.tensor([[True, True, False, False, False], [False] * 5])
    frame_mean(values, valid).backward()
    assert torch.equal(values.grad != 0, valid)
    assert float(frame_mean(torch.full((1, 5), float("nan")), torch.zeros(1, 5, dtype=torch.bool))) == 0


def test_sums_of_squares_of_halves_do_not_overflow_inside_autocast_either() -> None:
    @full_precision
    def power(values: torch.Tensor, *, more: torch.Tensor) -> torch.Tensor:
        assert not torch.is_autocast_enabled("cpu")
        return (values @ more).sum()

    large = torch.full((2, 2), 300.0)
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast("cpu", torch.bfloat16):
            found = power(large.to(dtype), more=large.to(dtype))
        assert found.dtype == torch.float32
        assert float(found) == 4 * 2 * float(large[0, 0].to(dtype)) ** 2
    assert power(large.double(), more=large.double()).dtype == torch.float64
