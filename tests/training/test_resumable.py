"""A run that was stopped anywhere and resumed ends with the keep and the weights of one that was not."""

import json
import os
import random
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from faulting.forks import hidden
from safetensors.torch import load_file

from prune_ssl import DistillationConfig, PruningConfig, PruningTrainer, attach_gates, trace
from prune_ssl.errors import PruneError
from prune_ssl.selection import parse_budget
from prune_ssl.training import rounds
from prune_ssl.training.gated_part import GatedPart
from prune_ssl.training.seeded_items import SeededItems
from tests.support.models import checksum, tiny_model
from tests.support.slow import slow_but
from tests.support.stopping import CONFIGS, StopAt, Stopped, finish, make, stop, stop_later
from tests.support.tables import fake_table
from tests.support.training import Jittered, arguments


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing interrupts, with its history."""
    trainer = make(tmp_path_factory.mktemp("whole"))
    small, plan = finish(trainer)
    assert set(trainer.run.record.outcomes) == {"dense", "cut", "recovered"}
    return checksum(small), plan, trainer.history, trainer.results, trainer.run.record.outcomes


def test_what_is_compared_depends_on_the_random_state(whole, tmp_path):
    small, plan = finish(make(tmp_path, seed=8))
    assert checksum(small) != whole[0]
    assert plan != whole[1]


@pytest.mark.parametrize("step", slow_but((4,), [1, 4, 7, 11, 12]))
def test_gate_training_resumes_to_the_same_keep_and_weights(whole, tmp_path, step):
    trainer = make(tmp_path)
    trainer.add_callback(StopAt(step, stop))
    with pytest.raises(Stopped):
        trainer.train()
    again = make(tmp_path)
    again.add_callback(StopAt(1 if step > 3 else -1, stop))  # what is done is not done again
    small, plan = finish(again, resume=True)
    assert plan == whole[1]
    assert checksum(small) == whole[0]
    assert [entry["step"] for entry in again.history] == [entry["step"] for entry in whole[2]]
    assert again.results["dense"].keys() == whole[3]["dense"].keys()
    assert again.run.record.outcomes == whole[4]
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("step", slow_but((5,), [2, 5, 9]))
def test_recovery_resumes_to_the_same_weights(whole, tmp_path, monkeypatch, step):
    trainer = make(tmp_path)
    trainer.train()
    with monkeypatch.context() as patch:
        stop_later(patch, "recovery", step, stop)
        with pytest.raises(Stopped):
            trainer.finalize()
    small, plan = finish(make(tmp_path), resume=True)
    assert plan == whole[1]
    assert checksum(small) == whole[0]


# -- the methods without gates


@pytest.fixture(scope="module")
def whole_by_cuts(tmp_path_factory):
    """The runs of each method that nothing interrupts, made on first use."""
    found = {}

    def run(method):
        if method not in found:
            trainer = make(tmp_path_factory.mktemp(method), CONFIGS[method])
            small, plan = finish(trainer)
            record = trainer.run.record
            found[method] = checksum(small), plan, trainer.history, record.results.keys(), record.outcomes
        return found[method]

    return run


@pytest.mark.parametrize(
    ("method", "phase", "step"),
    slow_but(
        [("one_shot", "round-1", 10)],
        [
            ("iterative", "round-2", 4),
            ("iterative", "round-3", 1),
            ("iterative", "recovery", 5),
            ("one_shot", "round-1", 10),
        ],
    ),
)
def test_rounds_resume_to_the_same_keep_and_weights(
    whole_by_cuts, tmp_path, monkeypatch, method, phase, step
):
    with monkeypatch.context() as patch:
        stop_later(patch, phase, step, stop)
        with pytest.raises(Stopped):
            finish(make(tmp_path, CONFIGS[method]))
    again = make(tmp_path, CONFIGS[method])
    small, plan = finish(again, resume=True)
    record = again.run.record
    found = checksum(small), plan, again.history, again.results.keys(), record.outcomes
    assert found == whole_by_cuts(method)
    assert record.outcomes.keys() == {"dense", "cut", "recovered"}
    assert hidden(tmp_path) == []


@pytest.mark.slow
def test_a_stop_between_two_rounds_repeats_neither(whole_by_cuts, tmp_path, monkeypatch):
    plain, calls = rounds.cut, []

    def stopping(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise Stopped
        return plain(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "cut", stopping)
        with pytest.raises(Stopped):
            make(tmp_path, CONFIGS["iterative"]).train()
    with monkeypatch.context() as patch:
        stop_later(patch, "round-1", 1, stop)  # what is done is not done again
        small, plan = finish(make(tmp_path, CONFIGS["iterative"]), resume=True)
    assert (checksum(small), plan) == whole_by_cuts("iterative")[:2]


@pytest.mark.slow
def test_a_new_start_takes_nothing_up_from_an_older_run(whole_by_cuts, tmp_path, monkeypatch):
    finish(make(tmp_path, CONFIGS["iterative"], seed=8))
    with monkeypatch.context() as patch:
        stop_later(patch, "round-2", 2, stop)  # before its first checkpoint; the older run left some
        with pytest.raises(Stopped):
            finish(make(tmp_path, CONFIGS["iterative"]))
    small, plan = finish(make(tmp_path, CONFIGS["iterative"]), resume=True)
    assert (checksum(small), plan) == whole_by_cuts("iterative")[:2]


@pytest.mark.slow
def test_projections_resume_with_the_cut(tmp_path, monkeypatch):
    def distilled(folder):
        torch.manual_seed(1)
        settings = {"save_strategy": "steps", "save_steps": 3, "per_device_train_batch_size": 3, "seed": 7}
        return PruningTrainer(
            model=tiny_model(num_labels=2, hidden_dropout=0.1),
            args=arguments(folder, **settings),
            pruning=CONFIGS["iterative"],
            distillation=DistillationConfig(losses={"l1": 1.0}, projection="per_layer"),
            train_dataset=Jittered(16),
        )

    wanted = distilled(tmp_path / "whole")
    small, plan = finish(wanted)
    start = {n: v.clone() for n, v in distilled(tmp_path / "other").distiller.learned.state_dict().items()}
    assert start
    with monkeypatch.context() as patch:
        stop_later(patch, "round-2", 2, stop)
        with pytest.raises(Stopped):
            finish(distilled(tmp_path / "cut"))
    again = distilled(tmp_path / "cut")
    found, found_plan = finish(again, resume=True)
    assert (checksum(found), found_plan) == (checksum(small), plan)
    learned = wanted.distiller.learned.state_dict()
    assert all(torch.equal(v, learned[n]) for n, v in again.distiller.learned.state_dict().items())
    assert not all(torch.equal(v, learned[n]) for n, v in start.items())


def test_resuming_a_finished_run_trains_nothing(whole, tmp_path):
    finish(make(tmp_path))
    again = make(tmp_path)
    again.add_callback(StopAt(1, stop))
    small, plan = finish(again, resume=True)
    assert (checksum(small), plan) == whole[:2]


def test_resuming_where_nothing_was_saved_starts_anew(whole, tmp_path):
    small, plan = finish(make(tmp_path), resume=True)
    assert (checksum(small), plan) == whole[:2]


def test_a_checkpoint_appears_whole_and_older_ones_go(tmp_path, monkeypatch):
    trainer = make(tmp_path)
    seen = []
    plain = GatedPart.save

    def spying(self, folder):
        seen.append((folder, sorted(path.name for path in tmp_path.iterdir())))
        plain(self, folder)

    monkeypatch.setattr(GatedPart, "save", spying)
    trainer.train()
    for folder, beside in seen:
        assert re.match(r"\.checkpoint-\d+\.partial-", folder.parent.name)
        assert folder.name not in beside
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-12", "checkpoint-9"]
    names = {path.name for path in (tmp_path / "checkpoint-12").iterdir()}
    assert {"gates.safetensors", "pruning.json", "model.safetensors", "optimizer.pt"} <= names


def test_the_gates_of_a_checkpoint_are_all_that_they_need(tmp_path):
    trainer = make(tmp_path)
    trainer.train()
    other = make(tmp_path / "other")
    other.load_parts(tmp_path / "checkpoint-12")
    state, found = trainer.gates.state_dict(), other.gates.state_dict()
    extra, found_extra = state.pop("_extra_state"), found.pop("_extra_state")
    assert json.loads(json.dumps(extra)) == found_extra
    assert extra["task_pull"] > 0
    assert all(torch.equal(value, found[name]) for name, value in state.items())
    assert torch.equal(
        load_file(tmp_path / "checkpoint-12" / "gates.safetensors")["log_alpha"], state["log_alpha"]
    )


def test_a_run_that_moves_to_another_machine_keeps_the_latencies_of_the_first():
    model = tiny_model(num_labels=2)
    graph = trace(model)
    (constraint,) = parse_budget("latency=60%")

    def gates_with(slope):
        budget = (replace(constraint, table=fake_table(graph, slope)),)
        made = PruningConfig(budget=budget, round_to=1, steps=10)
        return attach_gates(tiny_model(num_labels=2), graph, made)

    here, there = gates_with(1000), gates_with(70)
    assert there.limits != here.limits
    state = here.state_dict()
    there.load_state_dict(state | {"_extra_state": json.loads(json.dumps(state["_extra_state"]))})
    assert [limit.maximum for limit in here.limits] == [limit.maximum for limit in there.limits]
    assert [limit.constraint for limit in here.limits] == [limit.constraint for limit in there.limits]


def test_a_checkpoint_of_another_trainer_is_refused(tmp_path):
    (tmp_path / "checkpoint-3").mkdir()
    with pytest.raises(PruneError, match="holds no gates"):
        make(tmp_path).load_parts(tmp_path / "checkpoint-3")


def test_items_depend_on_seed_phase_epoch_and_index_alone():
    items = SeededItems(Jittered(4), 3)
    first, state = items[1]["input_values"], torch.get_rng_state()
    torch.randn(5), random.random(), np.random.rand()
    assert torch.equal(items[1]["input_values"], first)
    assert not torch.equal(SeededItems(Jittered(4), 4)[1]["input_values"], first)
    assert not torch.equal(SeededItems(Jittered(4), 3, "recovery")[1]["input_values"], first)
    items.epoch.fill_(1)
    assert not torch.equal(items[1]["input_values"], first)
    torch.set_rng_state(state)
    before = torch.get_rng_state()
    items[2]
    assert torch.equal(torch.get_rng_state(), before)


# -- a real kill


def main(folder, method, phase, step):
    """Train in a process of its own and kill it at a step of a phase (run by the test below)."""

    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    trainer = make(Path(folder), CONFIGS[method])
    if phase == "pruning":
        trainer.add_callback(StopAt(step, kill))
    else:
        stop_later(pytest.MonkeyPatch(), phase, step, kill)
    small, plan = finish(trainer, resume=True)
    (Path(folder) / "end.json").write_text(json.dumps([checksum(small), sorted(plan.keep.items())]))


KILLS = {
    "gates": (("pruning", range(1, 13), 3), ("recovery", range(4, 10), 2)),
    "iterative": (
        ("round-1", range(1, 5), 1),
        ("round-2", range(1, 5), 1),
        ("round-3", range(1, 5), 1),
        ("recovery", range(4, 10), 2),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", KILLS)
def test_five_kills_in_a_row_change_nothing(tmp_path, method):
    def run(folder, phase="none", step=0):
        command = [sys.executable, __file__, str(folder), method, phase, str(step)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([p for p in sys.path if p])}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)

    wanted = run(tmp_path / "whole")
    assert wanted.returncode == 0, wanted.stderr
    generator = np.random.default_rng(11)
    for phase, steps, times in KILLS[method]:
        for step in sorted(generator.choice(steps, times, replace=False)):
            killed = run(tmp_path / "killed", phase, int(step))
            assert killed.returncode == -signal.SIGKILL, killed.stderr
            assert not (tmp_path / "killed" / "end.json").exists()
    assert run(tmp_path / "killed").returncode == 0
    ends = [json.loads((tmp_path / name / "end.json").read_text()) for name in ("whole", "killed")]
    assert ends[0] == ends[1]
    assert hidden(tmp_path / "killed") == []


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
