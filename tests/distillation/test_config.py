"""Settings of distillation that are refused when they are made."""

import pytest

from prune_ssl import DistillationConfig
from prune_ssl.errors import DistillationError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"losses": {"l2": 1.0}}, r"there is no loss 'l2'; did you mean 'l1'"),
        ({"losses": {}}, "none given"),
        ({"losses": {"l1": -1.0}}, r"losses.l1: found weight -1.0"),
        ({"temperature": 0}, "temperature: found 0, wanted above 0"),
        ({"enhancement_units": 0}, "enhancement_units: found 0, wanted 1 or more"),
        ({"task_weight": -1}, "task_weight: found -1"),
        ({"layers": [(1, 2, 3)]}, "layers: found"),
        ({"layers": [0, 4], "layer_weights": [1.0]}, "one for each of `layers`"),
        ({"projection": "linear"}, "projection: found 'linear'"),
        ({"gram_scale": "half"}, "gram_scale"),
    ],
)
def test_a_wrong_setting_is_refused_when_it_is_made(settings, message):
    with pytest.raises(DistillationError, match=message):
        DistillationConfig(**settings)
