"""Settings of checkpoints of other tools: lists that agree, heads and widths, the config that they make."""

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from prune_ssl.importing.settings import Settings

PLAIN = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [(12, 10, 5), (8, 3, 2)],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 16,
    "encoder_pos_conv_kernel": 4,
    "encoder_pos_conv_groups": 2,
    "encoder_num_layers": 2,
    "encoder_use_attention": [True, True],
    "encoder_use_feed_forward": [True, True],
    "encoder_num_heads": [4, 4],
    "encoder_head_dim": 4,
    "encoder_ff_interm_features": [24, 24],
    "encoder_layer_norm_first": False,
}
WAVLM = {
    name: value for name, value in PLAIN.items() if name not in ("encoder_num_heads", "encoder_head_dim")
}
WAVLM |= {"encoder_total_num_heads": [4, 4], "encoder_remaining_heads": [[0, 1, 2, 3], [1, 3]]}


def settings(**changes: object) -> Settings:
    return Settings(**(PLAIN | changes))  # type: ignore[arg-type]


def test_a_whole_model_gets_the_config_of_a_stock_one() -> None:
    whole = settings()
    assert whole.is_whole
    assert not whole.is_wavlm
    config = whole.config("hubert", scaled_frontend=False)
    assert config["model_type"] == "hubert"
    assert config["architectures"] == ["HubertModel"]
    assert config["conv_dim"] == [12, 8]
    assert config["conv_kernel"] == [10, 3]
    assert config["conv_stride"] == [5, 2]
    assert (config["feat_extract_norm"], config["num_attention_heads"]) == ("group", 4)
    assert "pruned_layers" not in config
    assert "vocab_size" not in config


@pytest.mark.parametrize("family", ["hubert", "wav2vec2"])
def test_factors_of_the_frontend_need_a_pruned_class(family: str) -> None:
    config = settings().config(family, scaled_frontend=True)
    assert config["model_type"] == f"pruned_{family}"
    assert config["scaled_frontend"] is True
    assert config["pruned_layers"] == {}


def test_a_ctc_head_is_known_by_its_width() -> None:
    config = settings(aux_num_out=32).config("wav2vec2", scaled_frontend=False)
    assert config["architectures"] == ["Wav2Vec2ForCTC"]
    assert config["vocab_size"] == 32


HEADS = st.integers(0, 4)
LAYER = st.tuples(HEADS, st.integers(0, 24), st.booleans(), st.booleans())


@hypothesis_settings(max_examples=40)
@given(layers=st.lists(LAYER, min_size=1, max_size=4).filter(lambda each: any(layer[1] for layer in each)))
def test_layers_that_are_not_whole_are_written_and_no_others(layers) -> None:
    heads, widths, attends, feeds = map(list, zip(*layers, strict=True))
    made = settings(
        encoder_num_layers=len(layers),
        encoder_num_heads=heads,
        encoder_ff_interm_features=widths,
        encoder_use_attention=attends,
        encoder_use_feed_forward=feeds,
    )
    sizes = made.layer_sizes()
    widest = max(widths)
    for index, (count, width, attending, feeding) in enumerate(layers):
        count, width = count * attending, width * feeding
        entry = sizes.get(str(index), {})
        assert entry.get("num_attention_heads", 4) == count
        assert entry.get("intermediate_size", widest) == width
        gone = [name for name, left in (("attention", count), ("feed_forward", width)) if not left]
        assert entry.get("removed", []) == gone
        assert (str(index) in sizes) == (count < 4 or width < widest)
        assert made.heads_of(index) == tuple(range(count))
        assert made.width_of(index) == width


def test_heads_of_wavlm_keep_their_numbers() -> None:
    made = Settings(**WAVLM)  # type: ignore[arg-type]
    assert made.is_wavlm
    assert not made.is_whole
    assert made.heads_of(1) == (1, 3)
    sizes = made.layer_sizes()
    assert sizes["0"]["heads"] == [0, 1, 2, 3]  # of one kind with the others, for the shared bias
    assert sizes["1"] == {"num_attention_heads": 2, "heads": [1, 3]}
    config = made.config("wavlm", scaled_frontend=False)
    assert config["num_buckets"] == 320
    assert config["num_attention_heads"] == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder_use_attention": [True]}, "encoder_use_attention has 1 entries for 2 layers"),
        ({"encoder_ff_interm_features": [24, 24, 24]}, "encoder_ff_interm_features has 3 entries"),
        ({"encoder_num_heads": None}, "encoder_num_heads or encoder_head_dim is missing"),
        ({"encoder_head_dim": None}, "encoder_num_heads or encoder_head_dim is missing"),
        ({"encoder_head_dim": 5}, "is not a multiple of its heads"),
        ({"encoder_num_layers": 0}, "encoder_num_layers"),
        ({"encoder_embed_dim": -16}, "encoder_embed_dim"),
        ({"extractor_mode": "batch_norm"}, "extractor_mode"),
        ({"extractor_conv_layer_config": []}, "extractor_conv_layer_config"),
        ({"encoder_dropout": 1.5}, "encoder_dropout"),
        ({"encoder_ff_interm_features": [24, 10**9]}, "encoder_ff_interm_features"),
    ],
    ids=str,
)
def test_settings_that_make_no_model_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder_total_num_heads": None}, "encoder_total_num_heads is missing"),
        ({"encoder_remaining_heads": [[0], [0, 0]]}, r"\\[0, 0\\] are not heads of 4"),
        ({"encoder_remaining_heads": [[0], [4]]}, r"\\[4\\] are not heads of 4"),
        ({"encoder_remaining_heads": [[0]]}, "encoder_remaining_heads has 1 entries"),
    ],
    ids=str,
)
def test_heads_that_wavlm_cannot_have_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words.replace("\\\\", "\\")):
        Settings(**(WAVLM | changes))  # type: ignore[arg-type]


def test_what_does_not_decide_what_is_computed_is_passed_over() -> None:
    assert settings(their_seed=3) == settings()
