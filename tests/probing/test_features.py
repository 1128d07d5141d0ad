"""The features of a probe: all states, the last one, or those in the teacher's width."""

import pytest
import torch

from prune_ssl.distillation import Projections
from prune_ssl.errors import DataError
from prune_ssl.probing.features import Features
from tests.support.models import tiny_model

AUDIO = torch.randn(1, 4_000)


def test_the_features_are_the_states_that_are_asked_for() -> None:
    encoder = tiny_model("hubert", "Model").eval()
    with torch.no_grad():
        states = encoder(AUDIO, output_hidden_states=True).hidden_states
    assert torch.equal(Features("sum", encoder)(AUDIO), torch.cat(states))
    assert torch.equal(Features("last", encoder)(AUDIO), states[-1])


def test_projected_features_are_those_that_the_student_was_trained_by() -> None:
    encoder = tiny_model("hubert", "Model").eval()
    maps = Projections("per_layer", [(1, 4), (3, 12)], encoder.config.hidden_size, 24)
    found = Features("projected", encoder, maps)(AUDIO)
    with torch.no_grad():
        states = encoder(AUDIO, output_hidden_states=True).hidden_states
        wanted = torch.cat([maps.maps["0"](states[1]), maps.maps["1"](states[3])])
    assert found.shape[0::2] == (2, 24)
    torch.testing.assert_close(found, wanted)


def test_projected_features_without_fitting_maps_are_refused() -> None:
    encoder = tiny_model("hubert", "Model")
    with pytest.raises(DataError, match="needs the maps that a distillation has kept"):
        Features("projected", encoder)
    with pytest.raises(DataError, match="read 8 channels, and the encoder has 16"):
        Features("projected", encoder, Projections("per_layer", [(1, 1)], 8, 16))
