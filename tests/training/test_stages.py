"""Progressive runs: a model for each budget, each from what the stage before left."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from prune_ssl import PruningConfig, PruningTrainer, trace
from prune_ssl.errors import BudgetError
from prune_ssl.training.record import budget_text
from prune_ssl.training.resumable import ResumableTrainer
from prune_ssl.training.stages import stages_of
from tests.support.models import checksum, tiny_model
from tests.support.slow import slow_but
from tests.support.training import Tones, arguments


def progressive(folder, kind=PruningTrainer, **more):
    torch.manual_seed(2)
    return kind(
        model=tiny_model(num_labels=2),
        args=arguments(folder, **({"max_steps": 30, "seed": 4} | more)),
        pruning=PruningConfig(
            budget="macs=40%", milestones=("macs=80%", "macs=60%"), seconds=1.0, round_to=1, recovery=0.5
        ),
        train_dataset=Tones(16),
        eval_dataset=Tones(6),
    )


def test_one_run_gives_a_model_for_each_budget(tmp_path):
    trainer = progressive(tmp_path)
    dense = trainer.graph.cost(seconds=1.0).macs
    trainer.train()
    shares, plans = [], []
    for made in trainer.finalize_all():
        cost = trace(made.model).cost(seconds=1.0)
        assert cost == trainer.graph.cost(made.plan.keep, seconds=1.0)
        assert set(made.results) == {"dense", "cut", "recovered"}
        assert not made.model.training
        shares.append(cost.macs / dense)
        plans.append(made.plan)
        assert made.budget == ("macs=80%", "macs=60%", "macs=40%")[len(shares) - 1]
    for share, asked in zip(shares, (0.8, 0.6, 0.4), strict=True):
        assert 0.9 * asked < share <= asked
    assert plans[-1] == trainer.plan
    assert made.model is trainer.model


@pytest.mark.slow
def test_every_stage_goes_on_from_what_the_one_before_left(tmp_path):
    """Neither the shapes nor the weights of a later model come from the dense one; earlier ones stay put."""
    trainer = progressive(tmp_path, max_steps=6)
    trainer.train()
    makes, sums, keeps = [], [], []
    for made in trainer.finalize_all():
        makes.append(made)
        sums.append(checksum(made.model))
        keeps.append(made.plan.keep)
    assert [checksum(made.model) for made in makes] == sums
    assert len(set(sums)) == 3
    for larger, smaller in pairwise(keeps):
        assert all(set(smaller.get(name, units)) <= set(units) for name, units in larger.items())


@pytest.mark.slow
def test_the_history_of_a_progressive_run_is_of_the_dense_model(tmp_path):
    trainer = progressive(tmp_path, logging_steps=1)
    trainer.train()
    *_, last = trainer.finalize_all()
    gates = [entry for entry in last.history if entry["phase"] == "pruning"]
    assert [entry["step"] for entry in gates] == list(range(1, 31))
    for end, asked in ((14, 0.8), (21, 0.6), (29, 0.4)):
        assert gates[end]["target"] == pytest.approx(asked, abs=0.03)
    for name in ("conv", "heads", "ffn"):
        kept = [entry["keeps"][name] for entry in gates]
        assert kept[29] < kept[14] < 1
    assert [entry["step"] for entry in last.history if entry["phase"] == "recovery"] == list(
        range(1, trainer.stages[-1].recovery + 1)
    )
    assert trainer.history == last.history


@pytest.mark.slow
def test_finalize_of_a_progressive_run_gives_its_last_model(tmp_path):
    ends = []
    for name in ("all", "last"):
        trainer = progressive(tmp_path / name, max_steps=6)
        trainer.train()
        small = list(trainer.finalize_all())[-1].model if name == "all" else trainer.finalize()
        assert small is trainer.model is trainer.finalize()
        assert [made.model for made in trainer.finalize_all()] == [small]
        ends.append((trainer.plan, checksum(small)))
    assert ends[0] == ends[1]


@pytest.mark.slow
def test_stages_of_a_subclass_learn_from_its_loss(tmp_path):
    class Counting(PruningTrainer):
        seen = 0

        def compute_loss(self, model, inputs, *args, **kwargs):
            Counting.seen += model.training
            return super().compute_loss(model, inputs, *args, **kwargs)

    trainer = progressive(tmp_path, Counting, max_steps=6)
    trainer.train()
    trainer.finalize()
    assert Counting.seen == 6


@pytest.mark.parametrize(
    ("kinds", "layout"),
    [
        (("conv", "heads", "ffn", "hidden"), "hetero"),
        (("heads", "ffn", "layer"), "hetero"),
        (("conv", "ffn", "layer"), "stock"),
    ],
)
def test_stages_cut_all_kinds(tmp_path, kinds, layout):
    torch.manual_seed(2)
    trainer = PruningTrainer(
        model=tiny_model(num_labels=2, num_hidden_layers=4),
        args=arguments(tmp_path, max_steps=8, seed=4),
        pruning=PruningConfig(
            budget="params=40%",
            milestones=("params=75%",),
            round_to=1,
            recovery=0.5,
            kinds=kinds,
            layout=layout,
        ),
        train_dataset=Tones(8),
    )
    graph = trainer.graph
    trainer.train()
    for made in trainer.finalize_all():
        found, planned = trace(made.model).cost(), graph.cost(made.plan.keep)
        assert (found.params, found.macs) == (planned.params, planned.macs)
        assert made.model(torch.randn(1, 8000)).logits.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "step"),
    slow_but(
        [("stage-2/recovery", 3)],
        [(".", 5), ("recovery", 2), ("stage-2", 3), ("stage-2/recovery", 3), ("stage-3", 1)],
    ),
)
def test_a_progressive_run_resumes_in_any_stage(tmp_path, phase, step, monkeypatch):
    class Stopped(Exception):
        pass

    def finished(trainer, resume=None):
        trainer.train(resume_from_checkpoint=resume)
        return [(made.plan, checksum(made.model), made.results.keys()) for made in trainer.finalize_all()]

    settings = {"max_steps": 18, "save_strategy": "steps", "save_steps": 2}
    wanted = finished(progressive(tmp_path / "whole", **settings))
    plain = ResumableTrainer.training_step

    def stopping(self, *args, **kwargs):
        folder = Path(self.args.output_dir).relative_to(tmp_path / "cut")
        if str(folder) == phase and self.state.global_step == step:
            raise Stopped
        return plain(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(ResumableTrainer, "training_step", stopping)
        with pytest.raises(Stopped):
            finished(progressive(tmp_path / "cut", **settings))
    assert finished(progressive(tmp_path / "cut", **settings), resume=True) == wanted


@pytest.mark.slow
def test_a_new_run_forgets_what_an_earlier_one_left_in_its_folder(tmp_path, monkeypatch):
    settings = {"max_steps": 6, "save_strategy": "steps", "save_steps": 1}
    trainer = progressive(tmp_path, **settings)
    trainer.train()
    trainer.finalize()
    assert {"recovery", "stage-2", "stage-3"} <= {path.name for path in tmp_path.iterdir()}
    progressive(tmp_path, **settings, learning_rate=0.01).train()
    assert not {"recovery", "stage-2", "stage-3"} & {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("recovery", [0.0, 0.5, 1.0, 1.5, 4.0])
def test_all_stages_together_take_at_most_six_tenths_more_steps_than_one_run(count, recovery):
    graph = trace(tiny_model())
    budgets = [f"macs={90 - 5 * index}%" for index in range(count)]
    config = PruningConfig(budget=budgets[-1], milestones=tuple(budgets[:-1]), recovery=recovery)
    stages = stages_of(config, graph, 203)
    assert sum(stage.steps for stage in stages) == 203
    assert all(0 <= stage.recovery <= round(recovery * 203) for stage in stages)
    total = sum(stage.steps + stage.recovery for stage in stages)
    assert total <= 1.6 * (1 + recovery) * 203 + count
    assert stages[0].recovery > 0 or recovery == 0
    assert [budget_text(stage.limits) for stage in stages] == budgets


def test_what_cannot_be_staged_is_refused_before_training(tmp_path):
    with pytest.raises(BudgetError, match="2 steps are too few for 3 budgets"):
        progressive(tmp_path, max_steps=2)
    config = PruningConfig(budget="macs=1%", milestones=("macs=80%",))
    with pytest.raises(BudgetError, match="cannot be met"):
        stages_of(config, trace(tiny_model()), 100)


def test_an_absolute_warm_up_is_shared_among_the_stages(tmp_path):
    assert progressive(tmp_path, warmup_steps=15).args.warmup_steps == 4
    assert progressive(tmp_path, warmup_steps=0.1).args.warmup_steps == 0.1
