"""The folder of a run: finished stays finished, one run at a time, faults of the disk are one error."""

import os
import re
import shutil
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest
from faulting.forks import KILLED, REFUSED, elsewhere, forked, hidden
from faulting.runs import METHODS, TINY, WholeRuns, write_tones
from transformers import TrainerCallback

from prune_ssl import load_pretrained
from prune_ssl.errors import ArtifactError
from prune_ssl.pipeline import folders, run, running
from prune_ssl.recipes import make_recipe
from prune_ssl.recipes.written import recipe_as_yaml
from prune_ssl.training import ResumableTrainer
from prune_ssl.writing import lock
from tests.support.cli import run_cli
from tests.support.paths import RECIPES
from tests.support.slow import slow_but

Usage = namedtuple("Usage", "total used free")


def recipe_of(folder, corpus, method="one_shot", **more):
    return make_recipe(
        {
            "name": "tones",
            "model": {"family": "hubert", "config": TINY},
            "data": {"path": str(corpus)},
            "report": {"seconds": [0.5], "iterations": 3, "min_seconds": 0},
            "batch_size": 4,
            "checkpoint_steps": 2,
            "output": str(folder),
            **METHODS[method],
            **more,
        }
    )


def names_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tones") / "corpus"
    write_tones(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory, corpus):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("made") / "out"
    run(recipe_of(folder, corpus), say=lambda line: None)
    return folder


@pytest.fixture
def finished(made, corpus, tmp_path):
    """A copy of it, with its recipe."""
    folder = tmp_path / "out"
    shutil.copytree(made, folder)
    recipe = recipe_of(folder, corpus)
    (folder / "recipe.yaml").write_text(recipe_as_yaml(recipe))
    return folder, recipe


@pytest.fixture
def without_training(monkeypatch):
    """Whoever reads data or trains fails."""

    def refuse(*args, **kwargs):
        raise AssertionError("data were read, or something was trained")

    monkeypatch.setattr(running, "prepare", refuse)
    monkeypatch.setattr(ResumableTrainer, "train", refuse)


# -- a finished run is known as finished


def test_resuming_a_finished_run_says_so_at_once(finished, without_training, tmp_path):
    folder, recipe = finished
    before, said = contents(folder), []
    outcome = run(recipe, resume=True, say=said.append)
    assert said == [
        f"{folder} is finished, so there is nothing left to do. --overwrite runs the recipe again."
    ]
    assert contents(folder) == before
    assert outcome.plan.keep
    assert outcome.report.data.results["recovered"]
    assert outcome.model.num_parameters() == load_pretrained(folder / "model").num_parameters()
    assert names_in(tmp_path) == sorted(["out", *(f"out/{name}" for name in names_in(folder))])


def test_the_command_line_shows_what_a_finished_run_made(finished, without_training, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_as_yaml(finished[1]))
    result = run_cli("run", path, "--resume")
    assert result.exit_code == 0, result.output
    assert "is finished, so there is nothing left to do" in result.output
    assert "model.safetensors" in names_in(finished[0] / "model")
    assert "out/model" in result.output


LEFT = {
    "a checkpoint without its weights": {"pruning/checkpoint-2/trainer_state.json": "{}"},
    "checkpoints of all phases": {
        "dense-training/checkpoint-2/optimizer.pt": "x",
        "pruning/round-1/checkpoint-6/gates.safetensors": "",
        "distillation/x": "",
    },
    "half a deletion": {".pruning.gone-0123abcd/checkpoint-2/optimizer.pt": "x"},
    "half a model": {".model.partial-0123abcd/model/config.json": "{}"},
    "half a file": {".report.json.partial-0123abcd/report.json": "{"},
    "something deeper": {"model/.report.json.partial-0123abcd/report.json": "{"},
}


@pytest.mark.parametrize("left", LEFT)
def test_a_finished_run_that_was_killed_while_it_cleaned_up_is_finished(finished, without_training, left):
    folder, recipe = finished
    before = contents(folder)
    for name, text in LEFT[left].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    run(recipe, resume=True, say=lambda line: None)
    assert contents(folder) == before
    assert hidden(folder) == []
    assert not any((folder / name).exists() for name in folders.TRAININGS)


@pytest.mark.parametrize("gone", ["model", "report.json", "report.html"])
def test_a_finished_run_that_lost_a_product_is_not_finished(finished, gone):
    folder, recipe = finished
    wanted = (folder / "model" / "model.safetensors").read_bytes()
    path = folder / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    run(recipe, resume=True, say=lambda line: None)
    assert (folder / "model" / "model.safetensors").read_bytes() == wanted
    assert path.exists()


def test_another_recipe_does_not_take_a_finished_folder_for_its_own(finished, corpus):
    folder, _ = finished
    with pytest.raises(ArtifactError, match=r"differs from this recipe: seed was 0, is 1\. .*start again"):
        run(recipe_of(folder, corpus, seed=1), resume=True)
    pruning = METHODS["one_shot"]["pruning"]
    other = recipe_of(folder, corpus, pruning=pruning | {"learning_rate": 0.5}, seed=1)
    with pytest.raises(ArtifactError, match=r"pruning\.learning_rate was \S+, is 0\.5; seed was 0, is 1"):
        run(other, resume=True)


# -- kills


@pytest.fixture(scope="module")
def one_shot(tmp_path_factory):
    return WholeRuns("one_shot", tmp_path_factory.mktemp("faults"))


def step_of(runs, kind, part):
    return next(number for number, step in enumerate(runs.steps, 1) if step[0] == kind and part in step[1])


@pytest.mark.parametrize(
    ("kind", "part"),
    slow_but(
        [("move", "out/pruning/cut.safetensors"), ("move", "out/model")],
        [
            ("write", "recipe.yaml"),
            ("move", "out/pruning/cut.safetensors"),
            ("sync", "gone-"),
            ("move", "out/model"),
            ("move", "out/finished.json"),
            ("move", ".pruning.gone-"),
            ("unlink", ".pruning.gone-"),
        ],
    ),
)
def test_a_kill_of_a_whole_run_changes_nothing_of_what_it_makes(one_shot, kind, part):
    if kind == "sync":
        kind, part = "move", "checkpoint-2"
    assert one_shot.disturbed("kill", step_of(one_shot, kind, part)).faults == []


@pytest.mark.parametrize(
    "part",
    slow_but(
        ("optimizer.pt", "report.html"),
        ["recipe.yaml", "cut.safetensors", "optimizer.pt", "model.safetensors", "report.html"],
    ),
)
def test_a_full_disk_is_one_error_and_the_run_goes_on_later(one_shot, part):
    step = next(
        number
        for number, (kind, path) in enumerate(one_shot.steps, 1)
        if kind == "sync" and path.endswith(part)
    )
    outcome = one_shot.disturbed("enospc", step)
    assert (outcome.faults, outcome.status) == ([], REFUSED)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_kills_at_many_steps_change_nothing(method, tmp_path):
    runs = WholeRuns(method, tmp_path)
    chosen = range(3, len(runs.steps), max(len(runs.steps) // 15, 1))
    assert [each.faults for each in (runs.disturbed("kill", step) for step in chosen)] == [[]] * len(chosen)
    again = [runs.disturbed("twice", step).faults for step in chosen[::4]]
    assert again == [[]] * len(again)


@pytest.mark.slow
def test_what_an_interrupted_run_left_is_cleared_when_it_goes_on(corpus, tmp_path):
    recipe = recipe_of(tmp_path / "out", corpus, "gates")
    assert forked(lambda: run(recipe), "kill@75") == KILLED
    folder = tmp_path / "out"
    assert (folder / "dense").is_dir()
    (folder / "dense-training" / "checkpoint-4").mkdir(parents=True, exist_ok=True)
    (folder / ".dense.partial-0123abcd").mkdir()
    (tmp_path / ".out.gone-0123abcd").mkdir()
    run(recipe, resume=True, say=lambda line: None)
    assert names_in(tmp_path) == sorted(["out", *(f"out/{name}" for name in names_in(folder))])
    assert hidden(tmp_path) == []
    assert not any((folder / name).exists() for name in folders.TRAININGS)


def test_overwriting_leaves_the_old_run_until_everything_was_checked(finished, corpus, monkeypatch):
    folder, _ = finished
    before = contents(folder)
    monkeypatch.setattr(
        "prune_ssl.writing.places.shutil.disk_usage", lambda path: Usage(10**12, 10**12, 1000)
    )
    sizes = sum(len(each) for each in before.values())
    assert sizes < 10**6
    large = {"family": "hubert", "config": TINY | {"intermediate_size": 4000}}
    with pytest.raises(ArtifactError, match=r"the models of the run and its checkpoints take about .* free"):
        run(recipe_of(folder, corpus, model=large), overwrite=True)
    assert contents(folder) == before
    assert hidden(folder.parent) == []


# -- one run at a time


@pytest.mark.parametrize("more", [{}, {"resume": True}, {"overwrite": True}])
def test_a_second_run_into_a_folder_is_refused_and_harms_nothing(finished, corpus, more):
    folder, recipe = finished
    (folder / "finished.json").unlink()
    before = contents(folder)
    with elsewhere(lock(folder)) as first:
        with pytest.raises(ArtifactError, match=rf"out is in use by process {first} on \S+ since"):
            run(recipe, **more)
        assert contents(folder) == before
    assert hidden(folder.parent) == []


# -- the disk


class Act(TrainerCallback):
    def __init__(self, act):
        self.act = act

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 1:
            self.act()


def during_training(monkeypatch, act):
    plain = ResumableTrainer.train

    def train(self, *args, **kwargs):
        self.add_callback(Act(act))
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(ResumableTrainer, "train", train)


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_is_deleted_in_mid_run_is_one_error_and_is_not_made_again(
    corpus, tmp_path, monkeypatch, again
):
    folder = tmp_path / "out"

    def act():
        shutil.rmtree(folder)
        if again:
            folder.mkdir()

    during_training(monkeypatch, act)
    with pytest.raises(ArtifactError, match="was deleted, moved or replaced while this run was writing"):
        run(recipe_of(folder, corpus), say=lambda line: None)
    assert names_in(tmp_path) == (["out"] if again else [])


def test_no_place_for_temporary_files_after_training_is_no_error(corpus, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    def act():
        for name in ("TemporaryDirectory", "NamedTemporaryFile", "mkdtemp", "mkstemp"):
            monkeypatch.setattr(tempfile, name, full)

    during_training(monkeypatch, act)
    run(recipe_of(tmp_path / "out", corpus), say=lambda line: None)
    assert (tmp_path / "out" / "finished.json").is_file()


def test_a_run_that_makes_no_tokenizer_needs_no_place_for_temporary_files(corpus, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    run(recipe_of(tmp_path / "out", corpus), say=lambda line: None)
    assert (tmp_path / "out" / "finished.json").is_file()


def test_an_empty_recipe_that_a_full_disk_left_stands_in_nobodys_way(corpus, tmp_path, without_training):
    folder = tmp_path / "out"
    folder.mkdir()
    for more in ({}, {"resume": True}, {"overwrite": True}):
        (folder / "recipe.yaml").write_bytes(b"")
        with pytest.raises(AssertionError, match="data were read"):  # it has come to that
            run(recipe_of(folder, corpus), **more)
    (folder / "recipe.yaml").write_bytes(b"")
    (folder / "thesis.txt").write_text("years")
    with pytest.raises(ArtifactError, match="does not delete it"):
        run(recipe_of(folder, corpus), overwrite=True)
    assert (folder / "thesis.txt").read_text() == "years"


def below_a_file(folder):
    (folder / "file").write_text("")
    return folder / "file" / "out"


def dangling(folder):
    (folder / "out").symlink_to(folder / "gone")
    return folder / "out"


WRONG = {
    "below a file": (below_a_file, "a part of the path is a file"),
    "a dangling link": (dangling, "is a link to"),
    "a long name": (lambda folder: folder / ("o" * 300), "the name is too long"),
    "a read-only place": (lambda folder: Path("/proc/self/out"), "cannot be written"),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_output_that_cannot_be_is_one_error_before_anything_is_read(
    corpus, tmp_path, without_training, what
):
    make, message = WRONG[what]
    folder = make(tmp_path)
    before = names_in(tmp_path)
    with pytest.raises(ArtifactError, match=message) as caught:
        run(recipe_of(folder, corpus))
    assert "\n" not in str(caught.value)
    result = run_cli("prune", corpus / "no-model", folder, "--budget", "macs=50%")
    assert result.exit_code == 2
    assert re.search(message, " ".join(result.output.split()))
    assert names_in(tmp_path) == before


@pytest.mark.slow
def test_a_link_to_an_empty_folder_is_written_through(corpus, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    recipe = recipe_of(tmp_path / "out", corpus)
    for more in ({}, {"overwrite": True}):
        run(recipe, say=lambda line: None, **more)
        assert (tmp_path / "out").is_symlink()
        assert load_pretrained(tmp_path / "disk" / "model")
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("command", ["report", "bench", "recipes"])
def test_a_file_that_cannot_be_written_is_one_error(tmp_path, command):
    (tmp_path / "file").write_text("")
    wanted = tmp_path / "file" / "x.json"
    arguments = {
        "report": ("report", tmp_path / "no-model", "--save", wanted),
        "bench": ("bench", tmp_path / "no-model", "--save", wanted),
        "recipes": ("recipes", RECIPES, "--into", wanted),
    }
    result = run_cli(*arguments[command])
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert "cannot be" in " ".join(result.output.split())
    assert str(tmp_path / "file") in result.output.replace("\n", "")


def test_a_lock_is_free_again_after_a_run_that_was_refused(corpus, tmp_path):
    with pytest.raises(ArtifactError):
        run(recipe_of(tmp_path / "file" / "out" if (tmp_path / "file").write_text("") else tmp_path, corpus))
    folder = tmp_path / "out"
    with pytest.raises(Exception, match="no-such"):
        run(recipe_of(folder, corpus, data={"path": str(tmp_path / "no-such")}), say=lambda line: None)
    with lock(folder):
        pass
    assert os.listdir(tmp_path) == ["file"]
