"""A frontend that starts as a filterbank: where its filters lie, and that sound comes through."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.errors import ModelError
from prune_ssl.models.filterbank import (
    HIGH_HZ,
    LOW_HZ,
    first_convolution,
    gabor_filters,
    mel_centres,
    pass_on_,
    start_as_filterbank_,
)
from tests.support.models import tiny_model


@given(count=st.integers(2, 80), rate=st.sampled_from([8_000, 16_000, 44_100]))
def test_centres_are_equally_far_apart_on_the_mel_scale(count: int, rate: int) -> None:
    found = mel_centres(count, rate)
    assert float(found[0]) == pytest.approx(LOW_HZ)
    assert float(found[-1]) == pytest.approx(min(HIGH_HZ, 0.475 * rate))
    steps = (1127 * torch.log1p(found / 700)).diff()
    assert float(steps.std(correction=0)) < 1e-9 * float(steps.mean()) + 1e-9
    assert bool((steps > 0).all())


def response(filters: torch.Tensor, hz: torch.Tensor, rate: int) -> torch.Tensor:
    """|H| of each pair of filters at each frequency, (bands, frequencies)."""
    bands, kernel = len(filters) // 2, filters.shape[1]
    time = torch.arange(kernel, dtype=torch.float64) / rate
    turns = torch.exp(-2j * torch.pi * hz[None, :] * time[:, None])
    pairs = filters.double()[:bands] + 1j * filters.double()[bands:]
    return (pairs.conj() @ turns.conj()).abs()


def test_each_band_answers_most_near_its_centre() -> None:
    rate, bands, kernel = 16_000, 12, 400
    filters = gabor_filters(bands, kernel, rate)
    assert filters.shape == (2 * bands, kernel)
    hz = torch.linspace(20, 7_900, 1_500, dtype=torch.float64)
    found = hz[response(filters, hz, rate).argmax(1)]
    centres = mel_centres(bands + 1, rate)[:-1]
    assert bool(((found - centres).abs() < 0.02 * centres + 12).all())
    gains = response(filters, centres, rate).diagonal()
    assert bool((gains.diff() > 0).all())  # the gain rises with the frequency


def test_the_first_convolution_is_the_filterbank_and_spare_channels_keep_their_weights() -> None:
    model = tiny_model(conv_dim=(7, 10, 8, 12, 9, 8, 10))
    before = first_convolution(model).weight.detach().clone()
    assert start_as_filterbank_(model) is model
    weight = first_convolution(model).weight.detach()
    assert torch.equal(weight[:6, 0], gabor_filters(3, weight.shape[2]))
    assert torch.equal(weight[6:], before[6:])


def test_what_is_heard_comes_through_the_other_convolutions() -> None:
    model = tiny_model(conv_dim=(6, 8, 4, 6, 6, 6, 6), norm="layer")
    firsts = [first_convolution(model).weight.detach().clone()]
    pass_on_(model)
    assert torch.equal(first_convolution(model).weight, firsts[0])
    layers = [layer.conv for layer in model.hubert.feature_extractor.conv_layers]
    for conv in layers[1:]:
        units, channels, _ = conv.weight.shape
        sums = conv.weight.detach().sum(2)
        own = sums[:, : min(units, channels)].diagonal()
        assert float(own.mean()) == pytest.approx(1, abs=0.4)
        off = sums - torch.eye(units, channels)
        assert float(off.abs().mean()) < 0.6 * float(own.mean())


@pytest.mark.parametrize("act", [first_convolution, start_as_filterbank_, pass_on_])
def test_a_model_that_reads_no_samples_is_refused(act) -> None:
    with pytest.raises(ModelError, match="filterbank"):
        act(tiny_model("wav2vec2-bert", "ForCTC"))
