"""The fields of a config.json are checked as plain data; a refusal names file, field and value."""

import pytest

from prune_ssl.errors import ModelError
from prune_ssl.models.config_checks import check_config

GOOD = {
    "model_type": "pruned_hubert",
    "architectures": ["PrunedHubertModel"],
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "conv_dim": [8, 8],
    "conv_kernel": [10, 3],
    "conv_stride": [5, 2],
    "pruned_layers": {"0": {"num_attention_heads": 2, "removed": ["feed_forward"]}, "1": {}},
    "residual_dims": [0, 5],
    "residual_scales": [1, 0.5],
}


def test_a_good_config_passes() -> None:
    check_config(GOOD, "config.json")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("residual_scales", [10**400], "one for each dimension"),
        ("residual_scales", [float("nan")], "one for each dimension"),
        ("residual_dims", [10**400], "one for each dimension"),
        ("residual_dims", [1.0], "one for each dimension"),
        ("residual_dims", [True], "one for each dimension"),
        ("reused_maps", [2], "a list of layers, of 1 to 1"),
        ("pruned_layers", {"2": {}}, "some of the layers 0 to 1"),
        ("pruned_layers", {"0": {"heads": [4]}}, "a list of heads, of 0 to 3"),
        ("num_feat_extract_layers", 3, "2, the length of conv_dim"),
        ("conv_kernel", [10], "lists of one length"),
        ("num_attention_heads", 5, "a divisor of hidden_size"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object, words: str) -> None:
    with pytest.raises(ModelError, match=f"^config.json: .*found .*wanted .*{words}"):
        check_config({**GOOD, field: value}, "config.json")


def test_without_a_number_of_layers_the_default_of_transformers_counts() -> None:
    check_config({**GOOD, "num_hidden_layers": None, "pruned_layers": {"11": {}}}, "config.json")
    with pytest.raises(ModelError, match="layers 0 to 11"):
        check_config({**GOOD, "num_hidden_layers": None, "pruned_layers": {"12": {}}}, "config.json")
