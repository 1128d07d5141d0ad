"""Gates that learned nothing are not cut by; loops that teach them too little are warned of."""

import warnings

import pytest
import torch
from transformers import TrainerCallback

from prune_ssl import PruneWarning, PruningConfig, PruningTrainer, attach_gates, trace
from prune_ssl.errors import GatingError, ModelError
from prune_ssl.gating import doubts
from tests.support.models import tiny_model
from tests.support.training import Tones, arguments, make_trainer

STEPS = 12
CONFIG = PruningConfig(budget="macs=60%", steps=STEPS, seconds=1.0, round_to=1)


def gated(config=CONFIG, **more):
    """A tiny model as from_pretrained leaves it: in evaluation mode."""
    model = tiny_model(num_labels=2, **more)
    return model, attach_gates(model, trace(model), config)


def loop(
    model,
    gates,
    steps=STEPS,
    *,
    penalty=lambda gates, step: gates.penalty(step),
    task=lambda outputs: outputs.loss,
    groups=None,
    before=lambda step: None,
    micro=1,
):
    """The documented loop, of which each part can be replaced by a mistaken one."""
    groups = gates.parameter_groups() if groups is None else groups
    optimizer = torch.optim.AdamW([{"params": model.parameters()}, *groups], lr=1e-3)
    for step in range(steps):
        for _ in range(micro):
            before(step)
            outputs = model(torch.randn(2, 4000), labels=torch.tensor([0, 1]))
            (task(outputs) + penalty(gates, step)).backward()
        optimizer.step()
        optimizer.zero_grad()
        gates.clamp_()


def test_a_loop_in_evaluation_mode_is_refused_at_its_first_step():
    model, gates = gated()
    with pytest.raises(GatingError, match=r"penalty\(0\).*evaluation mode.*Call model\.train\(\)"):
        loop(model, gates)


def test_a_backbone_in_evaluation_mode_is_refused_too():
    """As those do who freeze an encoder."""
    model, gates = gated()
    model.train()
    model.hubert.eval()
    with pytest.raises(GatingError, match=r"model\.train\(\)"):
        loop(model, gates)


def test_the_documented_loop_passes():
    model, gates = gated()
    model.train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop(model, gates, penalty=lambda gates, step: gates.penalty(step))
        found = list(doubts(gates, gates.lagrangian))
        warnings.simplefilter("ignore")
        assert gates.finalize().keep
    assert all("expected" in doubt for doubt in found)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ({"penalty": lambda gates, step: 0.0}, r"penalty\(step\) was never called"),
        ({"penalty": lambda gates, step: gates.penalty(step).detach()}, "no backward pass went through it"),
        ({"penalty": lambda gates, step: gates.penalty(step).item()}, "no backward pass went through it"),
        ({"groups": []}, r"give gates\.parameter_groups\(\) to the optimiser"),
        ({"penalty": lambda gates, step: gates.penalty(0)}, "always with step 0"),
        ({"penalty": lambda gates, step: gates.penalty(STEPS - 1)}, "always with step 11"),
        ({"task": lambda outputs: outputs.loss.detach()}, "task's loss never reached the gates"),
        ({"steps": 0}, "no forward pass in training mode"),
    ],
)
@pytest.mark.filterwarnings("ignore::prune_ssl.PruneWarning")
def test_gates_that_learned_nothing_are_refused(mistake, words):
    model, gates = gated()
    model.train()
    loop(model, gates, **mistake)
    with pytest.raises(GatingError, match=words):
        gates.finalize()
    assert gates.finalize(untrained=True).keep


def test_a_penalty_without_gradients_is_refused():
    model, gates = gated()
    model.train()

    def silent(gates, step):
        with torch.no_grad():
            return gates.penalty(step)

    loop(model, gates, penalty=silent)
    with pytest.raises(GatingError, match=r"torch\.no_grad\(\)"):
        gates.finalize()


def test_learning_rates_of_zero_are_refused():
    model, gates = gated()
    model.train()
    loop(model, gates, groups=gates.parameter_groups(learning_rate=0.0))
    with pytest.raises(GatingError, match="no gate has moved"):
        gates.finalize()


def test_gates_held_during_training_are_refused():
    model, gates = gated()
    model.train()
    gates.hold({})
    loop(model, gates)
    with pytest.raises(GatingError, match=r"call gates\.hold\(None\)"):
        gates.finalize()


def test_gates_cut_right_after_attaching_are_refused_unless_it_is_meant():
    _, gates = gated()
    with pytest.raises(GatingError, match=r"finalize\(untrained=True\)"):
        gates.finalize()
    assert gates.finalize(untrained=True).keep


def test_gates_that_somebody_set_are_taken_as_they_are():
    _, gates = gated()
    with torch.no_grad():
        gates.log_alpha.normal_(0, 3)
    assert gates.finalize().keep


def test_a_step_that_stands_is_warned_of_in_the_loop():
    model, gates = gated()
    model.train()
    with pytest.warns(PruneWarning, match="since 10 moves of the gates"):
        loop(model, gates, penalty=lambda gates, step: gates.penalty(3))


def test_gradient_accumulation_is_no_standing_step():
    model, gates = gated()
    model.train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop(model, gates, steps=2, micro=12)


def test_training_that_stopped_early_is_warned_of():
    model, gates = gated()
    model.train()
    loop(model, gates, steps=4)
    with pytest.warns(PruneWarning) as found:
        gates.finalize()
    lines = [str(each.message) for each in found]
    assert any("stopped after 4 of 12 planned steps" in line for line in lines)
    assert any("expected" in line and "the budget is 60%" in line for line in lines)


def test_an_evaluation_that_nobody_ended_is_warned_of():
    model, gates = gated()
    model.train()
    loop(model, gates, before=lambda step: model.eval() if step == 3 else None)
    with pytest.warns(PruneWarning, match=r"in \d of 12 steps no gates were drawn"):
        gates.finalize()


@pytest.mark.filterwarnings("ignore::prune_ssl.PruneWarning")
def test_what_was_learned_goes_with_the_gates_state():
    model, gates = gated()
    model.train()
    loop(model, gates)
    _, again = gated()
    again.load_state_dict(gates.state_dict())
    assert again.learned == gates.learned
    assert again.finalize() == gates.finalize()


# -- PruningTrainer


def test_a_trainer_that_did_not_train_does_not_cut(tmp_path):
    trainer = make_trainer(tmp_path)
    with pytest.raises(GatingError, match=r"finalize\(\) before train\(\)"):
        trainer.finalize()


class Stop(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == 4


def test_a_trainer_that_a_callback_stopped_says_so(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.add_callback(Stop())
    trainer.train()
    with pytest.warns(PruneWarning, match="pruning: gate training was stopped after 4 of 12"):
        trainer.finalize()
    assert any("4 of 12" in line for line in trainer.warnings)
    noted = [line for entry in trainer.history for line in entry.get("warnings", ())]
    assert noted == trainer.warnings
    assert list(trainer.finalize_all())[-1].warnings == tuple(trainer.warnings)


class Weighted(PruningTrainer):
    """The class weights of transformers' own documentation: no super()."""

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        weights = torch.tensor([1.0, 2.0])
        loss = torch.nn.functional.cross_entropy(outputs.logits, labels, weight=weights)
        return (loss, outputs) if return_outputs else loss


def trained(folder, kind=PruningTrainer, accumulation=1, **more):
    torch.manual_seed(1)
    trainer = kind(
        model=tiny_model(num_labels=2),
        args=arguments(folder, max_steps=40, gradient_accumulation_steps=accumulation),
        pruning=PruningConfig(budget="macs=50%", seconds=1.0, round_to=1, recovery=0.0),
        train_dataset=Tones(16),
        **more,
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_budget_reaches_the_gates_whatever_a_subclass_computes(tmp_path, accumulation):
    trainer = trained(tmp_path, Weighted, accumulation)
    assert float(trainer.gates.expected().detach()[0]) == pytest.approx(0.5, abs=0.05)
    loss = trainer.compute_loss  # as it was before
    assert loss.__func__ is Weighted.compute_loss
    with pytest.warns(PruneWarning, match="Weighted.compute_loss serves gate training only"):
        trainer.finalize()


class Twice(PruningTrainer):
    """Calls super(), and changes what it gives."""

    def compute_loss(self, *args, **kwargs):
        return 2 * super().compute_loss(*args, **kwargs)


def test_a_subclass_that_calls_super_changes_the_task_only(tmp_path):
    doubled = trained(tmp_path, Twice)
    assert float(doubled.gates.expected().detach()[0]) == pytest.approx(0.5, abs=0.05)


def test_a_training_step_of_its_own_does_not_lose_the_budget_in_silence(tmp_path):
    class Own(PruningTrainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            inputs.pop("clip_indices", None)
            loss = model.train()(**inputs).loss
            loss.backward()
            return loss.detach()

    trainer = trained(tmp_path, Own)
    with pytest.raises(GatingError, match=r"finalize\(\) before train\(\)|penalty"):
        trainer.finalize()


def test_distillation_is_not_lost_in_silence_either(tmp_path):
    from prune_ssl import DistillationConfig
    from prune_ssl.errors import DistillationError

    with pytest.raises(DistillationError, match=r"Weighted\.compute_loss does not call super\(\)"):
        trained(tmp_path, Weighted, distillation=DistillationConfig(losses={"l1": 1.0}))
    assert trained(tmp_path, Twice, distillation=DistillationConfig(losses={"l1": 1.0})).plan is None


# -- reentrant checkpointing


@pytest.mark.parametrize("when", ["before", "after"])
def test_gates_refuse_reentrant_checkpointing(when):
    model = tiny_model(num_labels=2)
    switch = {"activation_checkpointing_kwargs": {"use_reentrant": True}}
    if when == "before":
        model.activation_checkpointing_enable(**switch)
        with pytest.raises(ModelError, match="use_reentrant=False"):
            attach_gates(model, trace(model), CONFIG)
        model.activation_checkpointing_disable()
    gates = attach_gates(model, trace(model), CONFIG)
    model.train().activation_checkpointing_enable(**switch)
    with pytest.raises(ModelError, match="use_reentrant=False"):
        model(torch.randn(2, 4000))
    model.activation_checkpointing_enable()
    loop(model, gates, steps=2)


@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize("kwargs", [{"use_reentrant": True}, {"preserve_rng_state": True}])
def test_trainers_refuse_reentrant_checkpointing_at_once(tmp_path, distilled, kwargs):
    from prune_ssl import DistillationConfig

    with pytest.raises(ModelError, match="use_reentrant=False"):
        PruningTrainer(
            model=tiny_model(num_labels=2),
            args=arguments(tmp_path, activation_checkpointing=True, activation_checkpointing_kwargs=kwargs),
            pruning=PruningConfig(
                budget="macs=60%", seconds=1.0, method="one_shot" if distilled else "gates"
            ),
            distillation=DistillationConfig(losses={"l1": 1.0}) if distilled else None,
            train_dataset=Tones(8),
        )
