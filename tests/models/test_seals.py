"""A damaged file of weights is recognised by the seal in its own header."""

import json
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForAudioClassification

from prune_ssl import load_model, load_pretrained, save_pretrained
from prune_ssl.errors import ArtifactError, ModelError
from prune_ssl.models.seals import SEAL, require_unbroken, seal
from tests.support.models import tiny_model

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(5, dtype=torch.bfloat16), "é": torch.zeros(1)}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    file = tmp_path_factory.mktemp("sealed") / "w.safetensors"
    save_file(TENSORS, file, metadata={"format": "pt"})
    seal(file)
    return file


def check(file):
    require_unbroken(file.parent, [file])


def content_starts(data):
    return 8 + struct.unpack("<Q", data[:8])[0]


def test_a_seal_changes_no_tensor_and_keeps_the_metadata(sealed):
    found = load_file(sealed)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    with safe_open(sealed, "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    assert len(metadata[SEAL]) == 64
    assert content_starts(sealed.read_bytes()) % 8 == 0
    check(sealed)


def test_a_file_sealed_twice_is_the_same_file(sealed, tmp_path):
    again = tmp_path / "w.safetensors"
    again.write_bytes(sealed.read_bytes())
    seal(again)
    assert again.read_bytes() == sealed.read_bytes()


@given(data=st.data())
def test_every_flipped_bit_of_the_content_is_found(sealed, tmp_path_factory, data):
    content = bytearray(sealed.read_bytes())
    start = content_starts(content)
    place = data.draw(st.integers(start, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    file = tmp_path_factory.mktemp("flipped") / "w.safetensors"
    file.write_bytes(content)
    with pytest.raises(ModelError, match="is damaged: its content is not the content that prune_ssl wrote"):
        check(file)


def test_exchanged_names_are_found(sealed, tmp_path):
    content = sealed.read_bytes()
    start = content_starts(content)
    header = json.loads(content[8:start])
    header["a"], header["é"] = header["é"], header["a"]
    text = json.dumps(header).encode()
    file = tmp_path / "w.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[start:])
    with pytest.raises(ModelError, match="is damaged"):
        check(file)


def test_a_file_without_a_seal_passes(tmp_path):
    save_file(TENSORS, tmp_path / "w.safetensors")
    check(tmp_path / "w.safetensors")


def flip(file):
    content = bytearray(file.read_bytes())
    content[-3] ^= 4
    file.write_bytes(content)


def test_a_model_that_transformers_saved_anew_is_loaded(tmp_path):
    model = load_model(save_pretrained(tiny_model(), tmp_path / "ours"))
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    model.save_pretrained(tmp_path / "ours")
    load_model(tmp_path / "ours")


def test_seals_that_transformers_carried_into_another_folder_claim_nothing(tmp_path):
    folder = save_pretrained(tiny_model(), tmp_path / "ours")
    AutoModelForAudioClassification.from_pretrained(folder).save_pretrained(tmp_path / "theirs")
    assert "sha256" in (tmp_path / "theirs/config.json").read_text()
    model = load_model(tmp_path / "theirs")
    assert not hasattr(model.config, "prune_ssl")
    load_model(save_pretrained(model, tmp_path / "again"))


def test_a_model_without_a_config_is_sealed_too(tmp_path):
    layer = torch.nn.Linear(2, 3)
    folder = save_pretrained(layer, tmp_path / "linear", plan={})
    flip(folder / "model.safetensors")
    with pytest.raises(ArtifactError, match="is damaged"):
        load_pretrained(folder, factory=lambda: torch.nn.Linear(2, 3))
