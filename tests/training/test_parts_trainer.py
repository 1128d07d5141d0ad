"""PartsTrainer: parts learn with its model, add to its loss and logs, and are attached together."""

from contextlib import contextmanager

import pytest
import torch
from transformers import TrainerCallback

from prune_ssl.distillation import LENGTHS, TEACHER_AUDIO
from prune_ssl.training.finite import FiniteTrainer
from prune_ssl.training.part import Part
from prune_ssl.training.parts_trainer import PartsTrainer
from tests.support.models import tiny_model
from tests.support.training import Tones, arguments


class Noting(Part):
    """A part with one parameter, that notes in which order it is asked."""

    def __init__(self, name, notes, weight=2.0):
        self.name, self.notes, self.weight = name, notes, weight
        self.own = torch.nn.Parameter(torch.tensor(1.0))

    def callbacks(self):
        return (CountSteps(self),)

    def parameter_groups(self):
        return [{"params": [self.own], "lr": 0.5, "weight_decay": 0.0}]

    def learned(self):
        yield f"{self.name}.own", self.own

    def plan_steps(self, steps):
        self.notes.append((self.name, "steps", steps))

    def adjust_scheduler(self, scheduler):
        self.notes.append((self.name, "groups", len(scheduler.optimizer.param_groups)))

    def compute_loss(self, model, inputs, inner):
        loss, outputs = inner(inputs)
        self.notes.append((self.name, "loss"))
        return self.weight * loss, outputs

    @contextmanager
    def requiring_loss(self, trainer):
        before = len(self.notes)
        yield
        if (self.name, "loss") not in self.notes[before:]:
            raise RuntimeError(f"{trainer} left {self.name} out")

    def penalty(self, step):
        return self.own.square()

    def log(self, logs, step):
        logs[f"own_{self.name}"] = self.own.item()

    def attach(self, model):
        self.notes.append((self.name, "attach"))

    def detach(self):
        self.notes.append((self.name, "detach"))


class CountSteps(TrainerCallback):
    def __init__(self, part):
        self.part, self.steps = part, 0

    def on_step_end(self, args, state, control, **kwargs):
        self.part.notes.append((self.part.name, "step"))
        self.part.own.grad = None


class Replaced(FiniteTrainer):
    """A user's trainer that forgets its parts."""

    def compute_loss(self, model, inputs, return_outputs=False, *args, **kwargs):
        outputs = model(**inputs)
        return (outputs.loss, outputs) if return_outputs else outputs.loss


def trainer_of(folder, kind=PartsTrainer, **more):
    torch.manual_seed(0)
    model = tiny_model(num_labels=2).eval()
    return kind(model=model, args=arguments(folder, max_steps=2, **more), train_dataset=Tones(8))


def batch_of(trainer):
    return next(iter(trainer.get_train_dataloader()))


def test_without_parts_it_is_a_trainer(tmp_path):
    trainer = trainer_of(tmp_path)
    inputs = batch_of(trainer)
    plain = trainer.model(**inputs).loss
    assert trainer.compute_loss(trainer.model, inputs) == plain
    loss, outputs = trainer.compute_loss(trainer.model, inputs, return_outputs=True)
    assert loss == plain
    assert outputs["logits"].shape == (4, 2)
    assert trainer.whole_loss(trainer.compute_loss, trainer.model, inputs) == plain
    assert trainer.own_parameter_groups() == []


def test_losses_of_parts_wrap_each_other_and_penalties_are_added_outside(tmp_path):
    trainer, notes = trainer_of(tmp_path), []
    inputs = batch_of(trainer)
    plain = trainer.compute_loss(trainer.model, inputs).item()
    for name, weight in (("first", 2.0), ("second", 3.0)):
        trainer.add_part(Noting(name, notes, weight))
    assert trainer.compute_loss(trainer.model, inputs).item() == pytest.approx(6 * plain)
    whole, outputs = trainer.whole_loss(trainer.compute_loss, trainer.model, inputs, return_outputs=True)
    assert whole.item() == pytest.approx(6 * plain + 2)
    assert "logits" in outputs
    assert notes == [("first", "loss"), ("second", "loss")] * 2


def test_the_model_does_not_see_fields_for_parts(tmp_path):
    trainer, seen = trainer_of(tmp_path), []

    class Watching(Part):
        def compute_loss(self, model, inputs, inner):
            seen.append(set(inputs))
            return inner(inputs)

    trainer.add_part(Watching())
    inputs = batch_of(trainer)
    extra = {LENGTHS: torch.tensor([4000] * 4), TEACHER_AUDIO: inputs["input_values"]}
    assert trainer.compute_loss(trainer.model, {**inputs, **extra}) == trainer.model(**inputs).loss
    assert seen == [{*inputs, LENGTHS, TEACHER_AUDIO}]


def test_the_audio_of_a_teacher_is_no_column_to_be_dropped(tmp_path):
    trainer = trainer_of(tmp_path)
    items = [{**item, TEACHER_AUDIO: item["input_values"], "comment": "x"} for item in Tones(4).items]
    batch = trainer._get_collator_with_removed_columns(trainer.data_collator, "Training")(items)
    assert set(batch) == {"input_values", "labels", TEACHER_AUDIO}


def test_parts_train_with_the_model_in_the_order_in_which_they_were_added(tmp_path):
    trainer, notes = trainer_of(tmp_path, FiniteTrainer, logging_steps=1), []
    parts = [Noting("first", notes), Noting("second", notes)]
    for part in parts:
        trainer.add_part(part)
    trainer.train()
    assert notes[:4] == [
        ("first", "steps", 2),
        ("second", "steps", 2),
        ("first", "groups", 4),
        ("second", "groups", 4),
    ]
    step = [("first", "loss"), ("second", "loss"), ("first", "step"), ("second", "step")]
    assert notes[4:] == 2 * step
    assert all(part.own.item() < 1 for part in parts)
    assert [name for name, _ in trainer.learned_beside()] == ["first.own", "second.own"]
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logged) == 2
    assert all({"own_first", "own_second"} <= entry.keys() for entry in logged)


def test_a_second_training_keeps_its_optimiser_and_its_groups(tmp_path):
    trainer = trainer_of(tmp_path)
    trainer.add_part(Noting("only", []))
    trainer.create_optimizer()
    for _ in range(2):
        trainer.create_scheduler(4)
        assert len(trainer.optimizer.param_groups) == 3


def test_a_compute_loss_that_leaves_a_part_out_is_refused(tmp_path):
    trainer = trainer_of(tmp_path, Replaced)
    trainer.add_part(Noting("only", []))
    with pytest.raises(RuntimeError, match="Replaced left only out"):
        trainer.train()


def test_all_parts_are_attached_and_detached_in_order(tmp_path):
    trainer, notes = trainer_of(tmp_path), []
    for name in ("first", "second"):
        trainer.add_part(Noting(name, notes))
    trainer.detach_parts()
    trainer.attach_parts()
    assert notes == [("first", "detach"), ("second", "detach"), ("first", "attach"), ("second", "attach")]


def test_an_evaluation_log_is_left_alone(tmp_path):
    trainer = trainer_of(tmp_path)
    trainer.add_part(Noting("only", []))
    trainer.log({"eval_loss": 1.0})
    assert "own_only" not in trainer.state.log_history[-1]
