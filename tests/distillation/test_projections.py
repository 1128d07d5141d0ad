"""Projections join the widths of a student and its teacher."""

import pytest
import torch

from prune_ssl import DistillationConfig
from prune_ssl.distillation import Distiller
from tests.support.distilling import audio, distil
from tests.support.models import tiny_model


@pytest.mark.parametrize(
    ("kind", "width", "names"),
    [
        ("auto", 16, set()),
        ("auto", 8, {"first", "rest"}),
        ("shared", 16, {"first", "rest"}),
        ("per_layer", 8, {"0", "1", "2", "3"}),
        ("heads", 8, {"trunk", "0", "1", "2"}),
    ],
)
def test_projections_join_widths_and_start_as_the_identity(kind, width, names):
    teacher, student = tiny_model(), tiny_model(hidden_size=width)
    distiller = Distiller(DistillationConfig(projection=kind), teacher, student)
    assert set(distiller.projections.maps) == names
    state = torch.randn(1, 3, width)
    for found in distiller.projections(dict.fromkeys(range(4), state)):
        assert found.shape == (1, 3, 16)
        if kind != "heads":
            assert torch.equal(found[..., :width], state)
    assert distil(distiller, student, audio(4000)).requires_grad
