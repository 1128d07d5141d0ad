"""Methods without gates: every model within its budget, cut from the right weights."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from transformers import TrainingArguments

from prune_ssl import PruningConfig, PruningTrainer, attach_gates, resize, trace
from prune_ssl.errors import BudgetError, PruneError
from prune_ssl.selection import allowed_widths, parse_budget, resolve
from prune_ssl.selection.criteria import score_units
from prune_ssl.training import phases
from prune_ssl.training.cutting import (
    Cut,
    budget_of_round,
    composed,
    cut,
    rounds_of,
)
from prune_ssl.training.rounds import planned_steps
from tests.support.models import first_output, tiny_model
from tests.support.tables import fake_table
from tests.support.training import Tones, arguments, make_trainer


def config(method, criterion="magnitude", **more):
    settings = {"budget": "macs=60%", "seconds": 1.0, "round_to": 1, "recovery": 0.5, "rounds": 3}
    return PruningConfig(method=method, criterion=criterion, **(settings | more))


@pytest.mark.parametrize(
    ("method", "criterion"),
    [("one_shot", "magnitude"), ("iterative", "magnitude"), ("iterative", "taylor"), ("one_shot", "fisher")],
)
def test_a_method_without_gates_trains_as_long_and_meets_the_budget(tmp_path, method, criterion):
    model = tiny_model(num_labels=2)
    dense = trace(model).cost(seconds=1.0)
    trainer = make_trainer(tmp_path, model, config(method, criterion))
    assert not [m for m in model.modules() if hasattr(m, "prune_ssl_gate")]
    trainer.train()
    small = trainer.finalize()
    found = trace(small).cost(seconds=1.0)
    assert 0.9 * 0.6 * dense.macs < found.macs <= 0.6 * dense.macs
    assert found == trainer.graph.cost(trainer.plan.keep, seconds=1.0)
    assert set(trainer.results) == {"dense", "cut", "recovered"}
    steps = [entry["step"] for entry in trainer.history if entry["phase"] == "pruning"]
    assert steps == ([3, 6, 9, 12] if method == "one_shot" else [3, 7, 11])
    assert [entry["step"] for entry in trainer.history if entry["phase"] == "recovery"] == [3, 6]
    assert trainer.finalize() is small
    with pytest.raises(BudgetError, match="has cut its model already"):
        trainer.train()


@pytest.mark.parametrize("method", ["gates", "one_shot"])
@pytest.mark.parametrize(
    ("settings", "grows"),
    [({}, True), ({"preset": "hj_pruning"}, False), ({"recovery_learning_rate": 5e-4}, True)],
)
@pytest.mark.filterwarnings("ignore::prune_ssl.PruneWarning")
def test_the_rate_after_a_cut_follows_from_the_kept_cost_or_is_given(
    tmp_path, monkeypatch, method, settings, grows
):
    rates, warm_ups, make = [], [], phases.later_trainer

    def noting(run, model, steps, name, rate):
        rates.append(rate)
        made = make(run, model, steps, name, rate)
        warm_ups.append(made.args.warmup_steps)
        return made

    monkeypatch.setattr(phases, "later_trainer", noting)
    own = {"seconds": 1.0, "round_to": 1, "recovery_warmup_ratio": 0.2}
    pruning = PruningConfig(budget="macs=60%", method=method, **own, **settings)
    trainer = make_trainer(tmp_path, tiny_model(num_labels=2), pruning, max_steps=2)
    trainer.train()
    kept = trace(trainer.finalize()).cost(seconds=1.0).macs / trainer.graph.cost(seconds=1.0).macs
    grown = 1e-3 / kept**0.25 if grows else 1e-3
    recovery = settings.get("recovery_learning_rate", grown)
    assert rates == pytest.approx([grown, recovery] if method == "one_shot" else [recovery])
    assert warm_ups[-1] == 0.2
    assert warm_ups[:-1] == [trainer.args.warmup_steps] * (len(rates) - 1)


def test_the_composed_keep_gives_the_model_that_the_rounds_gave(tmp_path):
    trainer = make_trainer(tmp_path, tiny_model(num_labels=2), config("iterative", recovery=0), max_steps=6)
    with torch.no_grad():
        before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.args.learning_rate = 0.0
    trainer.train()
    small = trainer.finalize()
    whole = tiny_model(num_labels=2)
    whole.load_state_dict(before)
    again = resize(whole, trainer.graph, trainer.plan)
    audio = torch.randn(1, 4000)
    assert torch.allclose(first_output(again, audio), first_output(small, audio), atol=1e-6)


def test_rounds_go_on_under_a_latency_that_knows_groups_which_an_earlier_cut_emptied():
    model = tiny_model()
    graph = trace(model)
    (constraint,) = parse_budget("latency=60%")
    budget = (replace(constraint, table=fake_table(graph)),)
    first = {"layer.0.heads": (), "layer.1.ffn": ()}
    before = Cut(resize(model, graph, first), first)
    score = partial(score_units, criterion="magnitude")
    made = cut(before, graph, config("iterative", budget=budget), budget, score)
    assert made.keep["layer.0.heads"] == made.keep["layer.1.ffn"] == ()
    (limit,) = resolve(budget, graph, allowed_widths(graph, 1), 1.0)
    assert limit.cost.value(graph.widths(made.keep)) <= 0.61 * limit.dense


def test_rounds_compare_scores_as_the_config_says(tmp_path):
    kept = []
    for more in ({}, {"normalise": "none"}, {"isomorphic": True}):
        trainer = make_trainer(tmp_path, tiny_model(num_labels=2), config("one_shot", **more), max_steps=2)
        trainer.train()
        kept.append(trainer.plan.keep)
    assert kept[0] != kept[1] != kept[2] != kept[0]


def test_rounds_share_the_steps_and_follow_the_ramp():
    assert rounds_of(config("iterative"), 11) == [3, 4, 4]
    assert rounds_of(config("one_shot"), 11) == [11]
    assert sum(rounds_of(config("iterative", rounds=7), 5)) == 5
    model = tiny_model()
    graph = trace(model)
    limits = attach_gates(model, graph, config("iterative")).limits
    amounts = [budget_of_round(limits, config("iterative"), i, 4)[0].absolute for i in range(4)]
    dense = graph.cost(seconds=1.0).macs
    assert amounts == pytest.approx([0.9 * dense, 0.8 * dense, 0.7 * dense, 0.6 * dense], rel=1e-6)
    cubic = config("iterative", schedule="cubic")
    assert budget_of_round(limits, cubic, 1, 4)[0].absolute == pytest.approx(
        (0.6 + 0.4 * 0.5**3) * dense, rel=1e-6
    )
    assert amounts[-1] == limits[0].maximum


def test_keeps_compose():
    graph = trace(tiny_model())
    first = {"conv.0": [1, 3, 5, 7], "layer.0.heads": [2]}
    second = {"conv.0": [0, 2], "layer.1.ffn": [4], "layer.0.heads": []}
    assert composed(graph, first, second) == {
        "conv.0": (1, 5),
        "layer.1.ffn": (4,),
        "layer.0.heads": (),
    }


def test_a_method_without_gates_has_no_checkpoint_to_name(tmp_path):
    with pytest.raises(PruneError, match="resumes from its newest cut"):
        make_trainer(tmp_path, pruning=config("one_shot")).train(resume_from_checkpoint="checkpoint-3")


def test_epochs_count_as_steps_for_the_rounds(tmp_path):
    args = TrainingArguments(
        **{
            k: v
            for k, v in arguments(tmp_path).to_dict().items()
            if k in ("output_dir", "report_to", "use_cpu")
        }
        | {
            "num_train_epochs": 2,
            "per_device_train_batch_size": 4,
            "save_strategy": "no",
            "disable_tqdm": True,
        }
    )
    trainer = PruningTrainer(
        model=tiny_model(num_labels=2), args=args, pruning=config("iterative"), train_dataset=Tones(16)
    )
    assert planned_steps(trainer) == 8
