"""Projections join the widths of a student and its teacher."""

import pytest
import torch

from prune_ssl import DistillationConfig
from prune_ssl.distillation import Distiller, Projections, load_projections, save_projections
from prune_ssl.errors import DistillationError
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


@pytest.mark.parametrize("kind", ["shared", "per_layer", "heads"])
def test_projections_can_be_kept_beside_a_model(kind, tmp_path):
    made = Projections(kind, [(0, 0), (1, 2), (2, 4)], 8, 16)
    save_projections(made, tmp_path)
    again = load_projections(tmp_path)
    states = {layer: torch.randn(1, 3, 8) for layer in range(3)}
    for own, other in zip(made(states), again(states), strict=True):
        assert torch.equal(own, other)
    assert (again.kind, again.pairs, again.widths) == (kind, made.pairs, (8, 16))


def test_projections_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(DistillationError, match=r"no such file: distil with .distillation\.keep_projections"):
        load_projections(tmp_path)
    (tmp_path / "projections.safetensors").write_bytes(b"no tensors")
    with pytest.raises(DistillationError, match="not readable as kept projections"):
        load_projections(tmp_path)
    with pytest.raises(DistillationError, match="nothing maps the student's states"):
        save_projections(Projections("none", [(0, 0)], 8, 8), tmp_path)
