"""Contents of a model folder: weights in the right dtype, tensors of their own, a config that says it."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import prune_ssl
from prune_ssl.artifacts.contents import (
    copy_companions,
    plain_tensors,
    require_loadable,
    state_dtype,
    state_to_write,
)
from prune_ssl.errors import ArtifactError
from tests.support.models import tiny_model


def test_tensors_share_no_memory_afterwards() -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    found = plain_tensors({"a": whole, "b": whole.T, "c": whole[0]})
    assert torch.equal(found["b"], whole.T)
    assert all(value.is_contiguous() for value in found.values())
    assert len({value.untyped_storage().data_ptr() for value in found.values()}) == 3
    assert found["c"].untyped_storage().nbytes() == 12


@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16])
def test_floats_are_written_in_the_asked_dtype_and_whole_numbers_as_they_are(dtype) -> None:
    model = tiny_model()
    model.register_buffer("count", torch.tensor(3))
    found = state_to_write(model, dtype)
    assert found.keys() == model.state_dict().keys()
    assert found["count"].dtype == torch.int64
    floats = [value for name, value in found.items() if name != "count"]
    assert {value.dtype for value in floats} == {dtype or torch.float32}
    if dtype is None:
        assert all(value.data_ptr() == model.state_dict()[name].data_ptr() for name, value in found.items())


def test_weights_keep_the_dtype_that_their_source_had(tmp_path: Path) -> None:
    folder = prune_ssl.save_pretrained(tiny_model(), tmp_path / "half", dtype=torch.float16)
    model = prune_ssl.load_model(folder).float()
    assert {value.dtype for value in state_to_write(model, None).values()} == {torch.float16}


@pytest.mark.parametrize(
    ("dtypes", "said"),
    [
        ([torch.float16, torch.float16, torch.float32], "float16"),
        ([torch.bfloat16], "bfloat16"),
        ([torch.int64], None),
        ([torch.int64, torch.int64, torch.float32], "float32"),
    ],
)
def test_the_config_says_the_dtype_of_most_weights(tmp_path: Path, dtypes, said: str | None) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"hidden_size": 3}')
    state_dtype(config, {str(place): torch.ones(1, dtype=each) for place, each in enumerate(dtypes)})
    found = json.loads(config.read_text())
    assert found.get("dtype") == said
    assert found["hidden_size"] == 3


def test_a_config_that_says_it_already_is_not_written_again(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"dtype":   "float32"}')
    state_dtype(config, {"a": torch.ones(1)})
    assert config.read_text() == '{"dtype":   "float32"}'


def test_a_model_that_its_config_makes_may_be_written() -> None:
    model = tiny_model()
    assert require_loadable(model) is model


@pytest.mark.parametrize(
    "spoil",
    [
        lambda model: setattr(
            model.hubert.encoder.layers[0].feed_forward, "intermediate_dense", nn.Linear(16, 9)
        ),
        lambda model: model.add_module("more", nn.Linear(2, 2)),
    ],
)
def test_a_model_that_could_not_be_loaded_again_is_refused(spoil) -> None:
    model = tiny_model()
    spoil(model)
    with pytest.raises(ArtifactError, match="nothing was written") as caught:
        require_loadable(model)
    assert "\n" not in str(caught.value)


def test_what_has_no_config_is_refused() -> None:
    with pytest.raises(ArtifactError, match="nothing was written"):
        require_loadable(nn.Linear(2, 2))


def test_files_of_the_source_go_along(tmp_path: Path) -> None:
    folder = prune_ssl.save_pretrained(tiny_model(), tmp_path / "source")
    (folder / "vocab.json").write_text('{"a": 0}')
    model = prune_ssl.load_model(folder)
    (tmp_path / "new").mkdir()
    copy_companions(model, tmp_path / "new", None)
    assert (tmp_path / "new" / "vocab.json").read_text() == '{"a": 0}'
    assert not (tmp_path / "new" / "model.safetensors").exists()
    (tmp_path / "made").mkdir()
    copy_companions(tiny_model(), tmp_path / "made", None)  # it came from no folder
    assert list((tmp_path / "made").iterdir()) == []
