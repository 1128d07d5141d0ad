"""Configs that no model has are named, field by field, before anything is allocated."""

import pytest
import torch

from prune_ssl import load_pretrained, resize, save_pretrained, trace
from prune_ssl.errors import ArtifactError, ModelError
from prune_ssl.models.config_checks import check_config
from tests.support.models import tiny_model
from tests.support.saved import change_config, change_weights, error_of, saved

FIELDS = [
    ("conv_dim", []),
    ("conv_dim", [16, 16]),
    ("conv_kernel", [10, 3, 3]),
    ("conv_stride", [5, 2, 2, 2, 2, 2, 0]),
    ("conv_dim", "16"),
    ("hidden_size", 10**9),
    ("hidden_size", -16),
    ("hidden_size", "16"),
    ("hidden_size", True),
    ("hidden_size", 16.5),
    ("num_hidden_layers", 10**7),
    ("num_attention_heads", 3),
    ("num_attention_heads", 0),
    ("intermediate_size", 10**12),
    ("vocab_size", 10**12),
    ("num_conv_pos_embedding_groups", 3),
    ("hidden_act", "foo"),
    ("hidden_act", 3),
    ("dtype", "float33"),
    ("torch_dtype", 16),
    ("id2label", ["a", "b"]),
    ("id2label", {"a": 1}),
    ("id2label", {"0": "a", "7": "b"}),
    ("id2label", {"0": ["a"]}),
    ("layerdrop", 2.0),
    ("hidden_dropout", float("nan")),
    ("layer_norm_eps", float("inf")),
    ("architectures", "HubertForCTC"),
    ("architectures", [3]),
    ("model_type", "gone"),
    ("model_type", 3),
]


@pytest.mark.parametrize(("field", "value"), FIELDS, ids=str)
def test_a_field_that_no_model_has_is_named_before_anything_is_allocated(tmp_path, field, value):
    error = error_of(saved(tmp_path / "m", **{field: value}))
    assert field.removeprefix("torch_") in error


PRUNED_FIELDS = [
    ("pruned_layers", {"999": {}}),
    ("pruned_layers", {"-1": {}}),
    ("pruned_layers", {"x": {}}),
    ("pruned_layers", []),
    ("pruned_layers", {"0": {"intermediate_size": -1}}),
    ("pruned_layers", {"0": {"intermediate_size": 10**9}}),
    ("pruned_layers", {"0": {"num_attention_heads": 99}}),
    ("pruned_layers", {"0": {"removed": "layer"}}),
    ("pruned_layers", {"0": {"wings": 2}}),
    ("pruned_layers", {"0": 7}),
    ("reused_maps", [99]),
    ("residual_dims", [-1]),
    ("prune_format_version", 99),
    ("prune_format_version", "1"),
]


@pytest.mark.parametrize(("field", "value"), PRUNED_FIELDS, ids=str)
def test_so_is_a_field_of_a_pruned_config(tmp_path, field, value):
    model = tiny_model()
    graph = trace(model)
    folder = save_pretrained(resize(model, graph, {"layer.0.ffn": [0, 1]}), tmp_path / "m")
    change_config(folder, **{field: value})
    assert field in error_of(folder)
    with pytest.raises(ArtifactError, match=field):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({"num_hidden_layers": 2}, "encoder.layers.2."),
        (
            {
                "conv_dim": [12] * 3,
                "conv_kernel": [3] * 3,
                "conv_stride": [2] * 3,
                "num_feat_extract_layers": 3,
            },
            "conv",
        ),
    ],
)
def test_layers_that_the_config_leaves_out_are_named(tmp_path, changes, lost):
    assert lost in error_of(saved(tmp_path / "m", "wavlm", "Model", **changes))


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"model_type": "hubert"', "\x00", "[" * 100_000, "\udcff"]
)
def test_a_damaged_config_is_one_error(tmp_path, text):
    folder = saved(tmp_path / "m")
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "config.json" in error_of(folder)


def test_quantised_checkpoints_are_refused(tmp_path):
    folder = saved(tmp_path / "m", quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    assert "quantised" in error_of(folder)
    change_config(folder, quantization_config="gone")
    change_weights(
        folder, lambda tensors: tensors | {"classifier.weight": torch.ones(5, 12, dtype=torch.int8)}
    )
    assert "classifier.weight" in error_of(folder)


# -- by itself, on plain data

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
