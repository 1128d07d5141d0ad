"""Runs of PruningTrainer that stop at a given step of a given phase."""

import dataclasses

import torch
from transformers import TrainerCallback

from prune_ssl import PruningConfig, PruningTrainer
from prune_ssl.tasks import ClipJudge
from prune_ssl.training import phases
from tests.support.models import tiny_model
from tests.support.training import Jittered, Tones, arguments, judged

STEPS = 12


PRUNING = PruningConfig(budget="macs=60%", seconds=1.0, round_to=1, recovery=0.75)


CONFIGS = {
    "gates": PRUNING,
    "iterative": dataclasses.replace(PRUNING, method="iterative", criterion="taylor", rounds=3),
    "one_shot": dataclasses.replace(PRUNING, method="one_shot", criterion="fisher"),
}


class StopAt(TrainerCallback):
    def __init__(self, step, how):
        self.step, self.how = step, how

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.how()


class Stopped(Exception):
    pass


def make(folder, pruning=PRUNING, **more):
    torch.manual_seed(1)
    settings = {
        "max_steps": STEPS,
        "save_strategy": "steps",
        "save_steps": 3,
        "save_total_limit": 2,
        "per_device_train_batch_size": 3,
        "seed": 7,
    }
    model = tiny_model(num_labels=2, hidden_dropout=0.1, activation_dropout=0.1)
    return PruningTrainer(
        model=model,
        args=arguments(folder, **(settings | more)),
        pruning=pruning,
        train_dataset=Jittered(16),
        eval_dataset=Tones(4),
        compute_metrics=ClipJudge(judged),
    )


def stop_later(patch, phase, step, how):
    """Make the trainer that PruningTrainer makes for a later phase stop at a step."""
    plain = phases.later_trainer

    def stopping(run, model, steps, name, rate):
        trainer = plain(run, model, steps, name, rate)
        if name == phase:
            trainer.add_callback(StopAt(step, how))
        return trainer

    patch.setattr(phases, "later_trainer", stopping)


def finish(trainer, resume=None):
    trainer.train(resume_from_checkpoint=resume)
    return trainer.finalize(), trainer.plan


def stop():
    raise Stopped
