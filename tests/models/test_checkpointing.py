"""Reentrant activation checkpointing is refused, in layers and in arguments; the other kind is not."""

from types import SimpleNamespace

import pytest
from torch import nn

from prune_ssl.errors import ModelError
from prune_ssl.models.checkpointing import (
    checkpointing_layers,
    refuse_reentrant,
    refuse_reentrant_arguments,
)
from tests.support.models import tiny_model


@pytest.mark.parametrize("reentrant", [True, False])
def test_layers_that_were_switched_to_it_are_refused(reentrant: bool) -> None:
    model = tiny_model().train()
    layers = checkpointing_layers(model)
    assert layers
    refuse_reentrant(layers, "a gate")
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    if reentrant:
        with pytest.raises(ModelError, match=r"use_reentrant=True.*a gate.*use_reentrant=False") as caught:
            refuse_reentrant(layers, "a gate")
        assert "\n" not in str(caught.value)
    else:
        refuse_reentrant(layers, "a gate")
    model.activation_checkpointing_disable()
    refuse_reentrant(layers, "a gate")


def test_a_model_without_such_layers_passes() -> None:
    assert checkpointing_layers(nn.Linear(1, 1)) == []
    refuse_reentrant([], "a gate")


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize(
    ("on", "given", "refused"),
    [
        (True, {"use_reentrant": True}, True),
        (True, {"preserve_rng_state": True}, True),  # torch then takes its old default
        (True, {"use_reentrant": False}, False),
        (True, None, False),
        (True, {}, False),
        (True, {"every_n_layers": 2}, False),
        (False, {"use_reentrant": True}, False),
    ],
)
def test_arguments_that_ask_for_it_are_refused(old: bool, on: bool, given, refused: bool) -> None:
    name = "gradient_checkpointing" if old else "activation_checkpointing"
    args = SimpleNamespace(**{name: on, f"{name}_kwargs": given})
    if refused:
        with pytest.raises(ModelError, match=r"TrainingArguments: .*use_reentrant=True"):
            refuse_reentrant_arguments(args, "a gate")
    else:
        refuse_reentrant_arguments(args, "a gate")
