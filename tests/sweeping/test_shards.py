"""Workers that share the folder of a sweep: claims, failures, the order of trials, and workers that die."""

import os
import subprocess
import sys

import pytest

from prune_ssl.errors import ArtifactError, RecipeError, TrainingError
from prune_ssl.recipes import load_recipe
from prune_ssl.sweeping import Jobs, Shard, attempts, sweep, trials
from prune_ssl.sweeping.attempts import attempt
from tests.support.sweeping import plan_of, products_of, require_equal


@pytest.fixture
def ran(monkeypatch):
    """The names of the trials that were run. A run leaves its report, and a dense model if it trains one."""
    found = []

    def run(recipe, **_settings):
        found.append(recipe.folder.name)
        if recipe.pruning.budget == "macs=1%":
            raise TrainingError("the loss is not finite")
        recipe.folder.mkdir(parents=True, exist_ok=True)
        (recipe.folder / "report.json").write_text("{}")
        if recipe.dense is not None:
            (recipe.folder / "dense").mkdir()
            (recipe.folder / "dense" / "model.safetensors").touch()

    monkeypatch.setattr(attempts, "run", run)
    monkeypatch.setattr(
        attempts, "recipe_from_dense", lambda recipe, cell, dense: recipe.model_copy(update={"dense": None})
    )
    monkeypatch.setattr("prune_ssl.sweeping.plan.SweepPlan.write", lambda plan: None)
    return found


def test_a_claimed_trial_is_left_to_the_worker_that_has_it(recipe, tmp_path, ran):
    plan = plan_of(recipe, tmp_path / "sweep")
    first, second = plan.recipes
    with plan.claim(first):
        assert (plan.state(first), plan.state(second)) == ("running", "waiting")
        assert attempt(plan, first, print) == "claimed"
        assert attempt(plan, second, print) == "waiting"
        assert ran == []
    assert attempt(plan, first, print) == "finished"
    assert plan.state(second) == "open"
    assert [attempt(plan, cell, print) for cell in (first, second)] == ["finished", "finished"]
    assert ran == [first.name, second.name]
    assert not list(plan.out.glob(".*"))


def test_a_failure_is_not_tried_again_by_another_worker_but_by_the_next_sweep(recipe, tmp_path, ran):
    plan, said = plan_of(recipe, tmp_path / "sweep", ("1%", "80%")), []
    bad, good = plan.recipes
    assert attempt(plan, bad, said.append) == "failed"
    assert said[-1] == "failed: the loss is not finite"
    Shard(2, 2).work(plan, said.append)
    assert ran == [bad.name, good.name]
    assert (plan.state(bad), plan.state(good)) == ("failed", "finished")
    Shard().work(plan_of(recipe, tmp_path / "sweep", ("1%", "80%")), said.append)
    assert ran == [bad.name, good.name, bad.name]


def test_the_first_trial_that_can_makes_the_dense_model_of_its_seed(recipe, tmp_path, ran):
    plan = plan_of(recipe, tmp_path / "sweep", ("1%", "80%", "60%"), seeds=(0, 1))
    Shard(3, 6).work(plan, print)
    assert ran[0].startswith("gates-macs-1-s1") or ran[0].startswith("gates-macs-1-s0")
    assert sorted(ran) == sorted(cell.name for cell in plan.recipes)
    dense = [path.parent.parent.name for path in plan.out.glob("*/dense/model.safetensors")]
    assert sorted(dense) == ["gates-macs-80-s0", "gates-macs-80-s1"]


@pytest.mark.filterwarnings("ignore:.*does not support locks")
@pytest.mark.parametrize("engine", [Shard(1, 2), Jobs(2)])
def test_several_workers_need_a_file_system_with_locks(recipe, tmp_path, ran, monkeypatch, engine):
    monkeypatch.setattr("prune_ssl.writing.holding.try_lock", lambda number: None)
    plan = plan_of(recipe, tmp_path / "sweep")
    with pytest.raises(ArtifactError, match="on a file system without locks"):
        engine.work(plan, print)
    assert ran == []
    Shard().work(plan, print)
    assert len(ran) == 2


def test_shards_begin_with_different_trials():
    cells = list("abcdefg")
    orders = [Shard(index, 3).order(cells) for index in (1, 2, 3)]
    assert [order[0] for order in orders] == ["a", "b", "c"]
    assert all(sorted(order) == cells for order in orders)
    with pytest.raises(RecipeError, match="found '4/3', wanted I/N with I from 1 to N"):
        Shard.parse("4/3")


@pytest.mark.slow
def test_four_shards_of_which_two_are_killed_make_the_models_of_one_sweep(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in this process: more threads add in another order
    options = (
        "--budgets",
        "80% 60%",
        "--methods",
        "one_shot/magnitude",
        "--seeds",
        "0",
        "--seeds",
        "1",
    )

    def start(index, **changes):
        command = [sys.executable, "-m", "prune_ssl", "sweep", recipe, "checkpoint_steps=1", *options]
        command += ["--out", tmp_path / "shards", "--shard", f"{index}/4"]
        return subprocess.Popen(
            [str(each) for each in command],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | changes,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    # The first two have trials of their own at once, because these make the dense models.
    workers = {index: start(index) for index in (2, 3, 4)}
    workers[1] = start(1, PRUNE_SSL_FAULT="kill@60")
    outputs = {1: workers[1].communicate(timeout=900)[0]}
    assert workers[1].returncode == -9, outputs[1][-2000:]
    workers[1] = start(1, PRUNE_SSL_FAULT="kill@30")
    outputs[1] += workers[1].communicate(timeout=900)[0]
    killed = workers[1].returncode == -9  # the others may have done everything meanwhile
    workers[1] = start(1)
    outputs |= {index: worker.communicate(timeout=900)[0] for index, worker in workers.items()}
    assert all(worker.returncode == 0 for worker in workers.values()), outputs
    assert killed or "Pruning to" not in outputs[1]
    cells = trials(["80%", "60%"], ["one_shot/magnitude"], [0, 1])
    sweep(load_recipe(recipe, ["checkpoint_steps=1"]), cells, tmp_path / "local", lambda line: None)
    found = products_of(tmp_path / "shards")
    assert len(found) == 4
    require_equal(found, products_of(tmp_path / "local"))
    assert not list((tmp_path / "shards").glob(".*"))
    assert len((tmp_path / "shards" / "pareto.csv").read_text().splitlines()) == 5


@pytest.mark.slow
def test_two_processes_of_this_machine_make_the_models_of_one(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    loaded, cells, said = load_recipe(recipe), trials(["80%"], ["one_shot/magnitude"], [0, 1]), []
    points = sweep(loaded, cells, tmp_path / "jobs", said.append, Jobs(2))
    assert [point.seed for point in points] == [0, 1], said
    sweep(loaded, cells, tmp_path / "local", lambda line: None)
    require_equal(products_of(tmp_path / "jobs"), products_of(tmp_path / "local"))
    assert sum("Training the dense model" in line for line in said) == 2
