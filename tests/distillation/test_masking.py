"""Masking distillation: which frames are hidden, and which of the teacher's two passes teaches them."""

import copy

import pytest
import torch

from prune_ssl import DistillationConfig, DistillationTrainer
from prune_ssl.distillation import Distiller, StudentConfig, draw_spans, make_student, masking_mse
from prune_ssl.errors import DistillationError
from tests.support.models import tiny_model
from tests.support.training import Tones, arguments

ONLY_MASKING = DistillationConfig(
    losses={"masking": 1.0},
    layers=(1, 2, 3),
    layer_weights=(0.1, 0.1, 1.0),
    mask_probability=0.5,
    mask_length=3,
)


def maskable(**more):
    return tiny_model("hubert", "Model", mask_time_prob=0.05, **more)


@pytest.mark.parametrize(
    ("probability", "span", "gap"), [(0.5, 10, 1), (0.8, 10, 1), (0.3, 4, 3), (1.0, 1, 0)]
)
def test_spans_lie_apart_and_hide_the_share_that_is_asked(probability, span, gap):
    lengths = torch.tensor([499, 230, 61, span, span - 1] * 40)
    mask = draw_spans(lengths, 500, probability, span, gap)
    for row, length in zip(mask, lengths.tolist(), strict=True):
        assert not row[length:].any()
        text = "".join("x" if each else "." for each in row.tolist())
        runs = [run for run in text.split(".") if run]
        if gap:
            assert all(len(run) == span for run in runs)
            assert all(len(hole) >= gap for hole in text.strip(".").split("x") if hole)
    found = float(mask[::5].float().mean()) * 500 / 499
    wanted = min(probability, span / (span + gap))
    assert found == pytest.approx(wanted, abs=0.03)
    assert probability == 1 or not torch.equal(mask[0], mask[5])


def test_hidden_frames_follow_the_teacher_that_heard_them():
    teacher, student = maskable(), maskable(hidden_size=8)
    distiller = Distiller(ONLY_MASKING, teacher, student)
    assert [type(each).__name__ for each in distiller.projections.maps.values()] == ["Linear"]
    inputs = distiller.prepare(
        {"input_values": torch.randn(2, 6000), "input_lengths": torch.tensor([6000, 4000])}
    )
    mask = inputs["mask_time_indices"]
    assert mask.any()
    assert not mask[1, 12:].any()
    with distiller.listening():
        outputs = student(inputs["input_values"], mask_time_indices=mask, output_hidden_states=True)
    found = distiller.loss(inputs, outputs)
    with torch.no_grad():
        clean = teacher(inputs["input_values"], output_hidden_states=True).hidden_states
        masked = teacher(
            inputs["input_values"], mask_time_indices=mask, output_hidden_states=True
        ).hidden_states
    valid = torch.arange(mask.shape[1]) < torch.tensor([18, 12])[:, None]
    wanted = 0.0
    for weight, layer in ((0.1, 1), (0.1, 2), (1.0, 3)):
        own = distiller.projections.maps["rest"](outputs.hidden_states[layer])
        wanted = wanted + weight * masking_mse(own, clean[layer], masked[layer], mask, valid)
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(clean[3], masked[3], atol=1e-3)


def test_evaluation_masks_nothing():
    teacher = maskable()
    student = copy.deepcopy(teacher)
    distiller = Distiller(ONLY_MASKING, teacher, student)
    inputs = {"input_values": torch.randn(1, 6000)}
    with distiller.listening():
        outputs = student(**inputs)
    assert float(distiller.loss(inputs, outputs).detach()) < 1e-10


def test_models_without_a_mask_embedding_are_refused():
    with pytest.raises(DistillationError, match="no embedding for masked frames"):
        Distiller(ONLY_MASKING, maskable(), tiny_model("hubert", "Model"))


@pytest.mark.slow
def test_an_arm_student_learns_with_masking(tmp_path):
    class Bare(Tones):
        def __getitem__(self, index):
            return {"input_values": self.items[index]["input_values"]}

    teacher = maskable()
    shape = StudentConfig(hidden_size=8, thin_frontend=True, mask_embedding=True, reuse="even", init="random")
    student = make_student(teacher, shape)
    before = student.masked_spec_embed.detach().clone()
    trainer = DistillationTrainer(
        model=student,
        args=arguments(tmp_path, max_steps=40, learning_rate=5e-3),
        distillation=ONLY_MASKING,
        teacher=teacher,
        train_dataset=Bare(16),
        eval_dataset=Bare(4),
    )
    start = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.9 * start
    assert not torch.equal(student.masked_spec_embed.detach(), before)
