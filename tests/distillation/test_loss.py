"""The shape of a distillation loss: what a subclass must say, what it gets, and what cannot be compared."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from prune_ssl.distillation.loss import (
    STUDENT,
    TEACHER,
    Batch,
    Loss,
    Models,
    output_of,
    require_same_frames,
    require_same_shape,
)
from prune_ssl.distillation.taps import Tapped
from prune_ssl.errors import DistillationError
from tests.support.models import tiny_model


def batch(**more: object) -> Batch:
    tapped = Tapped()
    settings = {
        "student": tapped,
        "teacher": tapped,
        "teacher_masked": tapped,
        "predictions": [],
        "student_outputs": None,
        "teacher_outputs": {},
        "audio": torch.zeros(2, 400),
    }
    return Batch(**(settings | more))  # type: ignore[arg-type]


def test_a_loss_needs_a_value_and_nothing_else() -> None:
    class Half(Loss):
        pass

    class Whole(Loss):
        def value(self, batch: Batch) -> torch.Tensor:
            return batch.audio.sum()

    with pytest.raises(TypeError, match="abstract"):
        Half()
    made = Whole()
    assert float(made.value(batch())) == 0
    for side in (STUDENT, TEACHER):
        assert set(made.states(side)) == set(made.maps(side)) == set()
    assert (made.projected, made.masks_input, made.field, made.make_module()) == (False, False, None, None)
    assert set(made.relies_on) == set()


def test_sizes_of_both_models_are_told_in_pairs() -> None:
    student = tiny_model("hubert", "ForCTC", hidden_size=8, num_hidden_layers=2)
    models = Models(student, tiny_model("wav2vec2", "Model"))
    assert models.depths == (2, 3)
    assert models.widths == (8, 16)
    assert models.frontend_width == student.config.conv_dim[-1]


def test_frames_are_judged_valid_only_where_clips_are_padded() -> None:
    asked = []

    def count(lengths: torch.Tensor, frames: int, stage: str) -> torch.Tensor:
        asked.append((frames, stage))
        return torch.arange(frames) < lengths[:, None]

    assert batch().valid(5, "encoder") is None
    assert batch(count_valid=count).valid(5, "encoder") is None
    assert batch(lengths=torch.tensor([2, 5])).valid(5, "encoder") is None
    found = batch(lengths=torch.tensor([2, 5]), count_valid=count).valid(5, "encoder")
    assert found.sum(1).tolist() == [2, 5]
    assert asked == [(5, "encoder")]


def test_tensors_of_other_shapes_cannot_be_compared() -> None:
    require_same_shape("l1", torch.zeros(2, 3), torch.ones(2, 3))
    with pytest.raises(DistillationError, match=r"l1: the student gives \(2, 3\), the teacher \(2, 4\)"):
        require_same_shape("l1", torch.zeros(2, 3), torch.ones(2, 4))


def test_states_of_other_frame_rates_cannot_be_related() -> None:
    require_same_frames("gram", torch.zeros(2, 3, 4), torch.zeros(2, 3, 5))
    with pytest.raises(DistillationError, match=r"gram: .*\[3, 6\] frames"):
        require_same_frames("gram", torch.zeros(2, 3, 4), torch.zeros(2, 6, 4))


@pytest.mark.parametrize("outputs", [{"logits": torch.ones(1)}, SimpleNamespace(logits=torch.ones(1))])
def test_a_field_of_the_outputs_is_found(outputs: object) -> None:
    assert output_of(outputs, "logits").item() == 1


@pytest.mark.parametrize("outputs", [{}, SimpleNamespace(), {"logits": None}, nn.Linear(1, 1), None])
def test_a_field_that_is_not_there_is_refused(outputs: object) -> None:
    with pytest.raises(DistillationError, match="a loss on logits needs models that give them"):
        output_of(outputs, "logits")
