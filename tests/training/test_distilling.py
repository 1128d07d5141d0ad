"""Trainers that learn from a teacher: in pruning and alone, whole and interrupted."""

import pytest
import torch

import prune_ssl
from prune_ssl import DistillationConfig, DistillationTrainer, PruningConfig, PruningTrainer, trace
from prune_ssl.distillation import Distiller
from prune_ssl.errors import ArtifactError, DistillationError
from tests.support.models import tiny_model
from tests.support.training import StopAt, Tones, Unlabelled, arguments


def count_losses(monkeypatch):
    calls = []
    original = Distiller.loss
    monkeypatch.setattr(
        Distiller, "loss", lambda self, *args: (calls.append(self.teacher), original(self, *args))[1]
    )
    return calls


@pytest.mark.parametrize("checkpointing", [False, True])
def test_pruning_learns_from_the_dense_model_in_both_phases(tmp_path, monkeypatch, checkpointing):
    calls = count_losses(monkeypatch)
    model = tiny_model(num_labels=2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainer = PruningTrainer(
        model=model,
        args=arguments(tmp_path, max_steps=6, logging_steps=2, activation_checkpointing=checkpointing),
        pruning=PruningConfig(budget="macs=60%", seconds=1.0, round_to=1, recovery=0.5),
        distillation=DistillationConfig(
            losses={"l1": 1.0, "cosine": 1.0, "logits": 0.5, "attention": 1.0, "layer_gram": 0.01}
        ),
        train_dataset=Tones(16),
        eval_dataset=Tones(4),
    )
    trainer.train()
    small = trainer.finalize()
    teacher = trainer.distiller.teacher
    assert len(calls) == 6 + 3
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert any(not torch.equal(model.state_dict()[key], before[key]) for key in before if "classifier" in key)
    assert trace(small).cost(seconds=1.0).macs <= 0.6 * trainer.graph.cost(seconds=1.0).macs
    logged = trainer.state.log_history[0]
    assert {"loss_task", "loss_l1", "loss_cosine", "loss_logits", "loss_attention"} <= logged.keys()
    prune_ssl.save_pretrained(small, tmp_path / "small")
    again = prune_ssl.load_pretrained(tmp_path / "small")
    wave = torch.randn(1, 4000)
    assert torch.equal(again(wave).logits, small(wave).logits)


@pytest.mark.parametrize("projection", ["per_layer", "heads"])
def test_a_bare_student_learns_its_teacher_without_labels(tmp_path, projection):
    teacher, student = tiny_model("hubert", "Model"), tiny_model("hubert", "Model", hidden_size=8)
    keys = set(student.state_dict())
    config = DistillationConfig(
        losses={"l1": 1.0, "log_cosine": 1.0}, projection=projection, task_weight=0, learning_rate=2e-2
    )
    trainer = DistillationTrainer(
        model=student,
        args=arguments(tmp_path, max_steps=30, learning_rate=2e-3, save_strategy="steps", save_steps=30),
        distillation=config,
        teacher=teacher,
        train_dataset=Unlabelled(16),
        eval_dataset=Unlabelled(4),
    )
    before = trainer.evaluate()["eval_loss"]
    start = {key: value.clone() for key, value in trainer.distiller.projections.state_dict().items()}
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.9 * before
    learned = trainer.distiller.projections.state_dict()
    assert all(not torch.equal(learned[key], start[key]) for key in start)
    group = trainer.optimizer.param_groups[-1]
    assert (group["initial_lr"], group["weight_decay"]) == (2e-2, 0)
    saved = prune_ssl.load_model(tmp_path / "checkpoint-30")
    assert set(saved.state_dict()) == keys == set(student.state_dict())


def test_an_interrupted_run_resumes_to_the_same_end(tmp_path):
    ends = []
    for stops in ((8,), (4, 8)):
        torch.manual_seed(0)
        teacher, student = tiny_model("hubert", "Model"), tiny_model("hubert", "Model", hidden_size=8)
        for stop in stops:
            trainer = DistillationTrainer(
                model=student,
                args=arguments(tmp_path / str(len(stops)), max_steps=8, save_strategy="steps", save_steps=4),
                distillation=DistillationConfig(task_weight=0),
                teacher=teacher,
                train_dataset=Unlabelled(16),
                callbacks=[StopAt(stop)],
            )
            trainer.train(resume_from_checkpoint=stop != stops[0])
            assert trainer.state.global_step == stop
            student = tiny_model("hubert", "Model", hidden_size=8)
        ends.append(trainer.model.state_dict() | trainer.distiller.learned.state_dict())
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    (tmp_path / "1/checkpoint-8/distillation.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"distillation\.safetensors is missing"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "1/checkpoint-8"))


def test_evaluation_gives_the_models_own_loss_and_ignores_what_is_for_the_teacher(tmp_path):
    class Heard(Tones):
        def __getitem__(self, index):
            item = self.items[index]
            return item | {"teacher_input_values": item["input_values"], "input_lengths": torch.tensor(4000)}

    model = tiny_model(num_labels=2)
    args = arguments(tmp_path, max_steps=2, remove_unused_columns=False)
    config = DistillationConfig(losses={"logits": 1.0})
    trainer = DistillationTrainer(model=model, args=args, distillation=config, eval_dataset=Heard(4))
    plain = DistillationTrainer(model=model, args=args, eval_dataset=Tones(4))
    assert trainer.evaluate()["eval_loss"] == plain.evaluate()["eval_loss"]
    trainer.train_dataset = Heard(4)
    trainer.train()


def test_a_teacher_without_losses_is_refused(tmp_path):
    with pytest.raises(DistillationError, match="a teacher but no losses"):
        DistillationTrainer(model=tiny_model(), args=arguments(tmp_path), teacher=tiny_model())


def test_states_of_a_width_that_is_pruned_cannot_be_compared(tmp_path):
    pruning = PruningConfig(budget="params=90%", kinds=("hidden", "ffn"), round_to=1)
    settings = {"model": tiny_model(), "args": arguments(tmp_path), "pruning": pruning}
    with pytest.raises(DistillationError, match="units of kind 'hidden' are to be pruned"):
        PruningTrainer(distillation=DistillationConfig(), **settings)
    PruningTrainer(distillation=DistillationConfig(losses={"logits": 1.0}), **settings)


def test_without_the_task_labels_do_not_matter(tmp_path):
    losses = []
    for flip in (False, True):
        torch.manual_seed(0)
        data = Tones(8)
        for item in data.items:
            item["labels"] = 1 - item["labels"] if flip else item["labels"]
        torch.manual_seed(1)
        student, teacher = tiny_model(num_labels=2), tiny_model(num_labels=2)
        config = DistillationConfig(losses={"logits": 1.0}, task_weight=0)
        args = arguments(tmp_path, max_steps=3, seed=1)
        trainer = DistillationTrainer(
            model=student, args=args, distillation=config, teacher=teacher, train_dataset=data
        )
        losses.append(trainer.train().training_loss)
    assert losses[0] == losses[1]
