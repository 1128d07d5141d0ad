"""Example inputs of exports: shapes, masks, seeds, and which axes may vary."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.runtimes.inputs import as_feeds, dynamic_axes, example
from tests.support.models import tiny_model

MASK = "attention_mask"
HUBERT, BERT = tiny_model("hubert", "ForCTC"), tiny_model("wav2vec2-bert", "ForCTC")


@given(samples=st.integers(400, 3_000), rows=st.integers(1, 4), masked=st.booleans())
def test_waveforms_have_the_asked_length_and_rows(samples: int, rows: int, masked: bool) -> None:
    found = example(HUBERT, samples / 16_000, rows, masked)
    assert found["input_values"].shape == (rows, samples)
    assert (MASK in found) == masked
    if masked:
        assert found[MASK].dtype == torch.int64
        lengths = found[MASK].sum(1).tolist()
        assert lengths[::2] == [samples] * len(lengths[::2])
        assert lengths[1::2] == [samples * 3 // 4] * len(lengths[1::2])
        assert not found["input_values"][found[MASK] == 0].any()  # padding is silent


def test_a_model_that_takes_features_gets_them() -> None:
    found = example(BERT, 1.0, 2, masked=True)
    width = BERT.config.feature_projection_input_dim
    assert set(found) == {"input_features", MASK}
    assert found["input_features"].shape[0] == 2
    assert found["input_features"].shape[2] == width
    assert found[MASK].shape == found["input_features"].shape[:2]


def test_a_seed_gives_the_same_noise_and_leaves_the_global_generator_alone() -> None:
    state = torch.random.get_rng_state()
    one, same, other = (example(HUBERT, 0.1, 1, False, seed)["input_values"] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_clips_and_time_may_vary_and_nothing_else() -> None:
    inputs = example(BERT, 1.0, 2, masked=True)
    axes = dynamic_axes(BERT, inputs)
    assert set(axes) == set(inputs)
    assert all(set(each) == {0, 1} for each in axes.values())


@pytest.mark.parametrize("masked", [True, False])
def test_a_runtime_gets_contiguous_arrays_of_the_same_values(masked: bool) -> None:
    inputs = example(HUBERT, 0.1, 2, masked)
    inputs["input_values"] = inputs["input_values"].T.contiguous().T  # another order in memory
    feeds = as_feeds(inputs)
    for name, array in feeds.items():
        assert array.flags["C_CONTIGUOUS"]
        assert np.array_equal(array, inputs[name].numpy())
