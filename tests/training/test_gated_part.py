"""GatedPart: gates as a part of a trainer: groups, constant rates, history, and what a checkpoint holds."""

import json

import pytest
import torch
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from prune_ssl import Plan, PruningConfig, attach_gates, trace
from prune_ssl.errors import BudgetError, PruneError
from prune_ssl.gating.hard_concrete import CLAMP
from prune_ssl.tasks import Outcomes
from prune_ssl.training.checkpoints import PROGRESS_FILE
from prune_ssl.training.gated_part import GatedPart
from prune_ssl.training.record import PruningRecord
from tests.support.models import tiny_model
from tests.support.training import arguments

KINDS = ("conv", "heads", "ffn")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return tiny_model(num_labels=2)


@pytest.fixture
def part(model, tmp_path):
    config = PruningConfig(budget="macs=60%", seconds=1.0, round_to=1, kinds=KINDS, steps=10)
    gates = attach_gates(model, trace(model), config)
    return GatedPart(gates, PruningRecord(), KINDS, arguments(tmp_path))


def halved(_step):
    return 0.5


def test_the_rates_of_the_gates_stay_while_the_others_follow_the_scheduler(part, model):
    optimizer = Adam([{"params": list(model.parameters()), "lr": 0.1}, *part.parameter_groups()])
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.0, 0.0]
    scheduler = LambdaLR(optimizer, halved)
    part.plan_steps(10)
    part.adjust_scheduler(scheduler)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    wanted = [group["lr"] for group in part.gates.parameter_groups()]
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, *wanted]
    assert scheduler.get_last_lr() == [0.05, *wanted]
    assert min(wanted) > 0


def test_a_scheduler_that_moves_all_groups_alike_is_refused(part):
    optimizer = Adam(part.parameter_groups())
    with pytest.raises(BudgetError, match="cannot leave the gates' learning rate alone; use linear"):
        part.adjust_scheduler(ReduceLROnPlateau(optimizer))


def test_what_is_learned_are_the_gates_and_the_multipliers(part):
    names = {name for name, _ in part.learned()}
    assert names == {"gates.log_alpha", "gates.multipliers"}
    in_groups = {id(each) for group in part.parameter_groups() for each in group["params"]}
    assert in_groups == {id(value) for _, value in part.learned()}
    assert all(group["weight_decay"] == 0 for group in part.parameter_groups())


def test_a_training_log_gets_the_budget_and_makes_an_entry_until_the_cut(part):
    logs = {"loss": 2.0, "learning_rate": 0.5}
    part.log(logs, 4)
    assert {"expected_macs", "target_macs", "keep_ffn"} <= logs.keys()
    (entry,) = part.record.history
    assert [entry[key] for key in ("phase", "step", "loss", "learning_rate")] == ["pruning", 4, 2.0, 0.5]
    assert entry["keeps"].keys() == set(KINDS)
    assert entry["expected"] == logs["expected_macs"]
    part.record.plan = Plan({})
    later = {"loss": 1.0}
    part.log(later, 8)
    assert later == {"loss": 1.0}
    assert len(part.record.history) == 1


def test_after_a_step_gates_are_within_their_bounds_and_their_gradients_gone(part):
    (callback,) = part.callbacks()
    with torch.no_grad():
        part.gates.log_alpha.fill_(50.0)
    part.gates.log_alpha.grad = torch.ones_like(part.gates.log_alpha)
    callback.on_step_end(None, None, None)
    assert part.gates.log_alpha.max() <= CLAMP + 1e-6
    assert part.gates.log_alpha.grad is None


def test_at_rest_the_model_answers_as_it_does_without_gates(part, model):
    audio = torch.randn(1, 4000)
    model.eval()
    with torch.no_grad():
        part.gates.log_alpha.fill_(-CLAMP)
        gated = model(audio).logits
        with part.at_rest():
            rested = model(audio).logits
        again = model(audio).logits
        part.detach()
        dense = model(audio).logits
    assert torch.allclose(rested, dense, atol=1e-6)
    assert torch.equal(again, gated)
    assert not torch.allclose(gated, dense)


def test_gates_are_attached_until_the_cut(part, model):
    part.detach()
    part.attach(model)
    assert part.gates.attachment is not None
    part.detach()
    part.record.plan = Plan({})
    part.attach(model)
    assert part.gates.attachment is None


def test_a_checkpoint_holds_gates_results_and_history(part, tmp_path):
    with torch.no_grad():
        part.gates.log_alpha.uniform_(-1, 1)
    part.record.results["dense"] = {"dense_accuracy": 0.5}
    part.record.outcomes["dense"] = outcomes = Outcomes("accuracy", (0, 1)).to_data()
    part.log({"loss": 1.0}, 2)
    part.save(tmp_path)
    wanted = part.gates.log_alpha.detach().clone()
    history = part.record.history
    with torch.no_grad():
        part.gates.log_alpha.zero_()
    part.record.results, part.record.history, part.record.outcomes = {}, [], {}
    part.load(tmp_path)
    assert torch.equal(part.gates.log_alpha, wanted)
    assert part.record.results == {"dense": {"dense_accuracy": 0.5}}
    assert part.record.outcomes == {"dense": outcomes}
    assert part.record.history == history
    path = tmp_path / PROGRESS_FILE
    said = json.loads(path.read_text())
    del said["outcomes"]
    path.write_text(json.dumps(said))  # as versions wrote it that kept no outcomes
    part.load(tmp_path)
    assert part.record.outcomes == {}
    with pytest.raises(PruneError, match="holds no gates"):
        part.load(tmp_path / "elsewhere")
