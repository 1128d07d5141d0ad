"""PruningTrainer: phases, budget, optimiser groups, results, and what a user knows of Trainer."""

import pytest
import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback

from prune_ssl import PruningConfig, PruningTrainer, load_pretrained, save_pretrained, trace
from prune_ssl.errors import BudgetError, ModelError, PruneError
from prune_ssl.gating import schedule
from tests.support.models import tiny_model
from tests.support.training import Tones, arguments, make_trainer


def test_a_run_prunes_to_the_budget_and_reports_every_phase(tmp_path):
    model = tiny_model(num_labels=2)
    dense = trace(model).cost(seconds=1.0)
    trainer = make_trainer(tmp_path, model)
    trainer.train()
    small = trainer.finalize()
    cost = trace(small).cost(seconds=1.0)
    assert cost.macs <= 0.6 * dense.macs
    assert cost == trainer.graph.cost(trainer.plan.keep, seconds=1.0)
    assert set(trainer.results) == {"dense", "cut", "recovered"}
    assert "recovered_accuracy" in trainer.results["recovered"]
    pruning = [entry for entry in trainer.history if entry["phase"] == "pruning"]
    assert [entry["step"] for entry in pruning] == [3, 6, 9, 12]
    assert {"expected", "target", "keeps", "loss"} <= set(pruning[0])
    assert set(pruning[0]["keeps"]) == {"conv", "heads", "ffn"}
    assert [entry["step"] for entry in trainer.history if entry["phase"] == "recovery"] == [3, 6]
    assert trainer.finalize() is small
    assert not small.training
    with pytest.raises(BudgetError, match="has cut its model already"):
        trainer.train()


def test_gates_have_groups_of_their_own_at_constant_rates(tmp_path):
    trainer = make_trainer(tmp_path, weight_decay=0.1, warmup_steps=4)
    trainer.train()
    gates, multipliers = trainer.optimizer.param_groups[-2:]
    assert gates["params"][0] is trainer.gates.log_alpha
    assert multipliers["params"][0] is trainer.gates.multipliers
    assert gates["weight_decay"] == multipliers["weight_decay"] == 0
    assert (
        gates["lr"] == trainer.gates.lagrangian.learning_rate
    )  # after the last step, where the weights' rate is 0
    assert trainer.optimizer.param_groups[0]["lr"] == 0
    started = torch.tensor([[0.0, schedule.INITIAL_LAMBDA_2]])
    assert not torch.equal(trainer.gates.multipliers.detach(), started)


class Counts(TrainerCallback):
    def __init__(self):
        self.steps = 0

    def on_step_end(self, args, state, control, **kwargs):
        self.steps += 1


@pytest.mark.slow
def test_the_callbacks_of_a_user_hear_of_recovery_and_of_rounds_too(tmp_path):
    for method in ("gates", "iterative"):
        counts = Counts()
        config = PruningConfig(budget="macs=60%", seconds=1.0, round_to=1, recovery=0.5, method=method)
        trainer = PruningTrainer(
            model=tiny_model(num_labels=2),
            args=arguments(tmp_path / method),
            pruning=config,
            train_dataset=Tones(16),
            callbacks=[counts],
        )
        trainer.train()
        trainer.finalize()
        assert counts.steps == 12 + 6


def test_a_trainer_may_train_twice_but_takes_no_scheduler(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.train()
    trainer.train()
    assert len(trainer.optimizer.param_groups) == 4
    assert trainer.state.global_step == 12
    model = tiny_model(num_labels=2)
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer)
    with pytest.raises(PruneError, match="a learning rate scheduler of its own"):
        PruningTrainer(
            model=model,
            args=arguments(tmp_path),
            pruning=PruningConfig(budget="macs=60%"),
            train_dataset=Tones(4),
            optimizers=(optimizer, scheduler),
        )


def test_kinds_that_the_model_has_no_units_of_are_left_out_of_the_history(tmp_path):
    kinds = ("conv", "heads", "ffn", "block")
    config = PruningConfig(budget="macs=60%", seconds=1.0, round_to=1, kinds=kinds)
    trainer = make_trainer(tmp_path, pruning=config)
    trainer.gates.groups = {n: g for n, g in trainer.gates.groups.items() if g.kind != "heads"}
    trainer.train()
    assert "heads" not in trainer.history[0]["keeps"]


@pytest.mark.parametrize("optim", ["adamw_torch", "adafactor"])
def test_any_optimiser_raises_the_multipliers_of_a_budget_that_is_exceeded(tmp_path, optim):
    trainer = make_trainer(tmp_path, optim=optim)
    trainer.gates.plan_steps(8)
    trainer.create_optimizer_and_scheduler(8)
    before = trainer.gates.multipliers.detach().clone()
    for step in range(4):
        trainer.gates.penalty(4 + step).backward()  # all gates are open, the target is far down
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
    assert (trainer.gates.multipliers.detach() > before).all()


def test_the_expected_budget_follows_its_target(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=40, logging_steps=5)
    trainer.train()
    entries = [entry for entry in trainer.history if entry["phase"] == "pruning"]
    assert entries[-1]["target"] == pytest.approx(0.6, abs=0.01)
    assert entries[-1]["expected"] == pytest.approx(entries[-1]["target"], abs=0.06)


def test_training_updates_both_weights_and_gates(tmp_path):
    model = tiny_model(num_labels=2)
    before = model.classifier.weight.detach().clone()
    trainer = make_trainer(tmp_path, model)
    trainer.train()
    assert not torch.equal(model.classifier.weight.detach(), before)
    assert float(trainer.gates.log_alpha.detach().std()) > 0


def test_accumulated_steps_scale_the_loss_by_their_number(tmp_path):
    trainer = make_trainer(tmp_path, gradient_accumulation_steps=2, max_steps=4)
    assert trainer.model_accepts_loss_kwargs is False
    trainer.train()
    assert trainer.state.global_step == 4
    assert trainer.gates.lagrangian.steps == 4


def test_layerdrop_is_off_while_gates_train_and_restored_in_the_result(tmp_path):
    trainer = make_trainer(tmp_path, tiny_model(num_labels=2, layerdrop=0.1))
    assert trainer.model.config.layerdrop == 0
    trainer.train()
    assert trainer.finalize().config.layerdrop == 0.1


def test_without_recovery_the_cut_model_comes_back(tmp_path):
    trainer = make_trainer(tmp_path, pruning=PruningConfig(budget="macs=60%", seconds=1.0, recovery=0))
    trainer.train()
    trainer.finalize()
    assert set(trainer.results) == {"dense", "cut"}


def test_a_seeded_run_is_repeatable(tmp_path):
    plans = []
    for name in ("a", "b"):
        torch.manual_seed(3)
        trainer = make_trainer(tmp_path / name, seed=5)
        trainer.train()
        plans.append(trainer.gates.finalize())
    assert plans[0] == plans[1]


def test_an_unreachable_budget_is_refused_before_training(tmp_path):
    with pytest.raises(BudgetError, match="Reachable"):
        make_trainer(tmp_path, pruning=PruningConfig(budget="params=0.01%"))


def test_a_model_of_another_field_is_refused_before_training(tmp_path):
    with pytest.raises(ModelError, match="not a speech SSL model"):
        make_trainer(tmp_path, torch.nn.Linear(2, 2))


def test_a_schedule_that_cannot_spare_the_gates_is_refused(tmp_path):
    with pytest.raises(BudgetError, match="cannot leave the gates' learning rate alone"):
        make_trainer(
            tmp_path, lr_scheduler_type="reduce_lr_on_plateau", eval_strategy="steps", eval_steps=6
        ).train()


def test_gradients_of_the_gates_do_not_add_up_over_steps(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=3)
    trainer.train()
    assert trainer.gates.log_alpha.grad is None
    assert trainer.gates.multipliers.grad is None


class Spoken(Dataset):
    """Noise with a transcript, of two lengths, for CTC."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"wave": torch.randn(8000 if index % 2 else 6000), "labels": torch.tensor([1, 2, 3])}


def ctc_batch(items):
    waves = [item["wave"] for item in items]
    return {
        "input_values": torch.nn.utils.rnn.pad_sequence(waves, batch_first=True),
        "attention_mask": torch.nn.utils.rnn.pad_sequence(
            [torch.ones(len(w), dtype=torch.long) for w in waves], batch_first=True
        ),
        "labels": torch.stack([item["labels"] for item in items]),
    }


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_a_ctc_model_is_pruned_with_padding_and_attention_masks(tmp_path, family):
    model = tiny_model(family, "ForCTC", ctc_loss_reduction="mean", pad_token_id=0)
    trainer = PruningTrainer(
        model=model,
        args=arguments(tmp_path, max_steps=4, remove_unused_columns=False),
        pruning=PruningConfig(budget="params=60%", round_to=1),
        train_dataset=Spoken(),
        data_collator=ctc_batch,
    )
    dense = trainer.graph.cost().params
    trainer.train()
    small = trainer.finalize()
    assert trace(small).cost().params <= 0.6 * dense
    assert type(small).__name__.endswith("ForCTC")


def test_what_would_silently_go_wrong_is_refused(tmp_path):
    with pytest.raises(PruneError, match="does not support load_best_model_at_end"):
        make_trainer(tmp_path, load_best_model_at_end=True, eval_strategy="epoch", save_strategy="epoch")


@pytest.mark.parametrize(
    ("family", "kinds", "share"),
    [
        ("hubert", ("conv", "heads", "ffn", "hidden", "head_dim", "block", "layer"), 0.7),
        ("wavlm", ("conv", "heads", "ffn", "hidden", "head_dim", "block", "layer"), 0.7),
        ("sew-d", ("heads", "ffn", "hidden", "head_dim", "block"), 0.93),
        ("data2vec-audio", ("hidden", "ffn"), 0.93),
    ],
)
def test_every_kind_learns_in_one_budget_and_the_result_reloads(tmp_path, family, kinds, share):
    model = tiny_model(family, "ForSequenceClassification", num_labels=2)
    pruning = PruningConfig(
        budget=f"macs={100 * share:g}%", seconds=1.0, round_to=1, recovery=0.5, kinds=kinds
    )
    trainer = make_trainer(tmp_path / "run", model, pruning)
    before = trainer.gates.log_alpha.detach().clone()
    trainer.train()
    moved = (trainer.gates.log_alpha.detach() - before).abs()
    for name, span in trainer.gates.spans.items():
        assert moved[span].max() > 1e-5, name  # every kind of gate hears the task or the budget
    small = trainer.finalize()
    cost = trainer.graph.cost(trainer.plan.keep, seconds=1.0)
    assert cost.macs <= share * trainer.graph.cost(seconds=1.0).macs
    assert trace(small).cost(seconds=1.0).params == cost.params
    loaded = load_pretrained(save_pretrained(small, tmp_path / "small"))
    audio = Tones(1)[0]["input_values"][None]
    with torch.no_grad():
        assert torch.equal(loaded(audio).logits, small(audio).logits)
