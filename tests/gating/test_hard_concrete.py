"""The hard-concrete distribution against its formulas and against draws."""

import math

import pytest
import torch

from prune_ssl.gating import hard_concrete
from prune_ssl.gating.hard_concrete import (
    HIGH,
    LOW,
    TEMPERATURE,
    gate_value,
    keep_probability,
    log_alpha_for,
    mean_when_open,
    sample,
)

LOG_ALPHAS = torch.tensor([-4.0, -1.5, 0.0, 0.7, 2.0, 4.5], dtype=torch.float64)


def test_a_gate_is_the_stretched_and_clamped_logistic() -> None:
    for log_alpha in LOG_ALPHAS.tolist():
        for uniform in (0.01, 0.3, 0.5, 0.77, 0.99):
            s = 1 / (1 + math.exp(-(math.log(uniform) - math.log(1 - uniform) + log_alpha) / TEMPERATURE))
            wanted = min(max(s * (HIGH - LOW) + LOW, 0.0), 1.0)
            found = gate_value(
                torch.tensor(log_alpha, dtype=LOG_ALPHAS.dtype), torch.tensor(uniform, dtype=LOG_ALPHAS.dtype)
            )
            assert float(found) == pytest.approx(wanted, abs=1e-12)


def test_the_keep_probability_and_the_mean_are_those_of_many_draws() -> None:
    draws = sample(LOG_ALPHAS[:, None].expand(-1, 200_000), torch.Generator().manual_seed(1))
    is_open = draws > 0
    wanted = keep_probability(LOG_ALPHAS)
    # Five standard errors of a share; the values themselves lie in [0, 1].
    error = 5 * (wanted * (1 - wanted) / draws.shape[1]).sqrt()
    assert ((is_open.double().mean(1) - wanted).abs() <= error).all()
    found = (draws * is_open).sum(1) / is_open.sum(1)
    assert ((found - mean_when_open(LOG_ALPHAS)).abs() <= 5 * 0.5 / is_open.sum(1).sqrt() + 1e-3).all()


def test_gates_grow_with_the_noise_and_with_log_alpha() -> None:
    noise = torch.linspace(0.001, 0.999, 300, dtype=torch.float64)
    values = gate_value(LOG_ALPHAS[:, None], noise)
    assert (values.diff(dim=1) >= 0).all()
    assert (values.diff(dim=0) >= 0).all()
    assert (values[0, 0], values[-1, -1]) == (0.0, 1.0)


@pytest.mark.parametrize("probability", [0.001, 0.3, 0.5, 0.95, 0.99])
def test_log_alpha_for_is_the_inverse_of_the_keep_probability(probability: float) -> None:
    found = keep_probability(torch.tensor(log_alpha_for(probability), dtype=torch.float64))
    assert float(found) == pytest.approx(probability, abs=1e-12)


def test_a_draw_has_a_gradient_where_it_is_neither_closed_nor_open() -> None:
    log_alpha = torch.zeros(1_000, dtype=torch.float64, requires_grad=True)
    draws = sample(log_alpha)
    draws.sum().backward()
    between = (draws > 0) & (draws < 1)
    assert 0 < int(between.sum()) < 1_000
    assert torch.equal(log_alpha.grad > 0, between)


def test_sampled_gates_have_the_closed_form_keep_probability():
    log_alpha = torch.tensor([-4.0, -1.6, 0.0, 2.0])
    draws = torch.stack([hard_concrete.sample(log_alpha) for _ in range(20_000)])
    wanted = torch.sigmoid(log_alpha + 2 / 3 * math.log(11))
    assert torch.allclose(hard_concrete.keep_probability(log_alpha), wanted)
    assert torch.allclose((draws > 0).float().mean(0), wanted, atol=0.015)
    means = torch.stack([draws[:, i][draws[:, i] > 0].mean() for i in range(4)])
    assert torch.allclose(hard_concrete.mean_when_open(log_alpha), means, atol=0.02)


def test_log_alpha_for_inverts_the_keep_probability():
    for probability in (0.6, 0.95, 0.998):
        log_alpha = torch.tensor(hard_concrete.log_alpha_for(probability))
        assert float(hard_concrete.keep_probability(log_alpha)) == pytest.approx(probability)
