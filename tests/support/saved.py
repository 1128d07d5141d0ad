"""Saved models that a test changes, and the one error that they give."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from prune_ssl.errors import ModelError
from prune_ssl.models import load_model
from tests.support.models import tiny_model


def saved(folder: Path, family="hubert", head="ForSequenceClassification", **changes):
    """A tiny model's folder, with fields of its config changed."""
    model = tiny_model(family, head)
    model.save_pretrained(folder)
    change_config(folder, **changes)
    return folder


def change_config(folder: Path, **changes):
    file = folder / "config.json"
    fields = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in fields.items() if value != "gone"}))


def change_weights(folder: Path, change):
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors", metadata={"format": "pt"})


def error_of(folder, **options) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
