"""Fields of `model.config`: those that a config of transformers has, with values that make a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.models import FAMILIES
from prune_ssl.recipes.model_config import MOST_OF_A_SIZE, NOT_SET, check_config, fields_of
from tests.support.models import TINY

STOCK = [name for name, family in FAMILIES.items() if family.classes]


@pytest.mark.parametrize("family", STOCK)
def test_the_defaults_of_every_family_pass(family: str) -> None:
    fields = fields_of(family)
    assert not set(fields) & NOT_SET
    assert fields["num_labels"] == 2
    check_config(family, {}, from_scratch=True)
    check_config(family, {name: value for name, value in fields.items() if value is not None}, False)


def test_a_tiny_model_passes() -> None:
    check_config("hubert", {name: list(v) if isinstance(v, tuple) else v for name, v in TINY.items()}, True)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hiden_size": 16}, r"unknown field 'hiden_size'; did you mean 'hidden_size'\?"),
        ({"wings": 2}, r"unknown field 'wings'; wanted fields of HubertConfig"),
        ({"architectures": ["x"]}, "unknown field 'architectures'"),
        ({"hidden_size": 0}, "hidden_size: found 0, wanted a whole number from 1 to 1000000"),
        ({"hidden_size": -16}, "hidden_size: found -16"),
        ({"num_hidden_layers": MOST_OF_A_SIZE + 1}, "num_hidden_layers: found 1000001"),
        ({"hidden_dropout": 1.5}, r"hidden_dropout: found 1\.5, wanted a number from 0 to 1"),
        ({"layerdrop": -0.1}, "layerdrop: found -0.1"),
        ({"mask_time_prob": 2}, "mask_time_prob: found 2"),
        ({"hidden_act": "gelou"}, "hidden_act: found 'gelou', wanted one of .*gelu"),
        ({"conv_dim": []}, "conv_dim: found .*, wanted 1 to 100 whole numbers"),
        ({"conv_kernel": [10, 0]}, r"conv_kernel: found \[10, 0\]"),
        ({"conv_stride": [2] * 101}, "conv_stride: found"),
        ({"layer_norm_eps": float("inf")}, "layer_norm_eps: found inf, wanted finite numbers"),
        ({"layer_norm_eps": "1e-5"}, "YAML reads 1e-5 as text: write it with a point and a sign"),
        ({"conv_dim": [1.0, float("nan")]}, "conv_dim: found .*, wanted finite numbers"),
    ],
    ids=str,
)
@pytest.mark.parametrize("from_scratch", [True, False])
def test_a_field_that_makes_no_model_is_named(
    given: dict[str, object], words: str, from_scratch: bool
) -> None:
    with pytest.raises(ValueError, match=words):
        check_config("hubert", given, from_scratch)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hidden_size": 770}, "hidden_size 770 is not a multiple of num_attention_heads 12"),
        ({"num_attention_heads": 7}, "hidden_size 768 is not a multiple of num_attention_heads 7"),
        ({"num_conv_pos_embedding_groups": 5}, "not a multiple of num_conv_pos_embedding_groups 5"),
        ({"num_hidden_layers": 1_001}, "1001 layers and about .* wanted at most 1,000"),
        (
            {"hidden_size": 768 * 100, "intermediate_size": 10**6},
            "parameters; wanted at most 1,000 and 20,000",
        ),
    ],
    ids=str,
)
def test_sizes_that_do_not_go_together_are_refused_for_a_model_from_scratch(given, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_config("hubert", given, from_scratch=True)
    check_config("hubert", given, from_scratch=False)  # a named model has sizes of its own


def test_fields_of_another_family_may_be_given_for_a_named_model() -> None:
    check_config("hubert", {"num_buckets": 10}, from_scratch=False)
    with pytest.raises(ValueError, match="num_buckets: found 0"):
        check_config("hubert", {"num_buckets": 0}, from_scratch=False)


@given(
    name=st.sampled_from(sorted(fields_of("hubert"))),
    value=st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=3),
)
def test_any_value_passes_or_is_refused_in_one_line(name: str, value: object) -> None:
    try:
        check_config("hubert", {name: value}, from_scratch=True)
        said = ""
    except ValueError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 2_000
