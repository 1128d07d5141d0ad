"""The kernels that gates and losses add to a step do not grow with the depth of the model."""

import launches
import pytest

from prune_ssl.selection import UNIT_KINDS

SMALL = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "conv_dim": [8] * 7}
DEPTHS = (2, 3)


def test_gates_of_channels_heads_and_neurons_add_as_many_kernels_at_any_depth() -> None:
    added = []
    for depth in DEPTHS:
        gated, plain = launches.gated_and_plain(UNIT_KINDS, num_hidden_layers=depth, **SMALL)
        added.append(gated.total() - plain.total())
    assert added[0] == added[1] <= 145


@pytest.mark.parametrize(("losses", "most"), [("L1 and cosine", 60), ("STaR", 90)])
def test_losses_add_few_kernels_for_a_layer(losses: str, most: int) -> None:
    step, floor = launches.distilled_and_floor(launches.LOSSES[losses], num_hidden_layers=2, **SMALL)
    assert step - floor <= most
