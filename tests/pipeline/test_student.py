"""Students in recipes: the schema, what a student starts from, and whole runs with labels and resumed."""

from pathlib import Path

import pytest
import torch

import prune_ssl
from prune_ssl import pipeline
from prune_ssl.errors import DistillationError, RecipeError
from prune_ssl.pipeline.student import new_student, student_part
from prune_ssl.recipes import Recipe, load_recipe, pruning_part
from prune_ssl.recipes.catalogue import markdown_table
from prune_ssl.tasks import Classification, Representation
from tests.support.models import tiny_model
from tests.support.paths import RECIPES

STUDENT = "student={layers: 1, steps: 6, learning_rate: 1.0e-3}"


def recipe_of(name: str, *overrides: str) -> Recipe:
    return load_recipe(RECIPES / f"{name}.yaml", list(overrides))


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        (
            "distilhubert",
            ["pruning={budget: macs=50%, steps: 1, learning_rate: 1}"],
            "wanted either `pruning` or `student`, found both",
        ),
        ("distilhubert", ["student=null"], "wanted `pruning`, a `student`, or `dense` alone .*, found none"),
        ("distilhubert", ["distillation=null"], "learns by `distillation`"),
        ("dphubert", ["distillation=null"], "learns by `distillation`"),
        ("dphubert", ["dense={steps: 1, learning_rate: 1}"], "no labels to train a dense model on"),
        (
            "distilhubert",
            ["student.name=distil"],
            r"student\.name: .*wanted one of distilhubert, star_hubert",
        ),
        ("distilhubert", ["student.layer=2"], r"unknown key 'student\.layer'; did you mean 'layers'"),
        ("distilhubert", ["optimizer.beta=1"], r"unknown key 'optimizer\.beta'; did you mean 'betas'"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(name: str, overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe_of(name, *overrides)


def test_a_recipe_says_which_way_it_goes() -> None:
    student, pruning = recipe_of("armhubert", "student.reuse=[1]"), recipe_of("dphubert")
    assert student_part(student).hidden_size == 480
    assert student_part(student).reuse == (1,), "what is given takes the place of the named student's"
    assert "`armhubert, reuse=(1,)`" in markdown_table([(Path("x.yaml"), student)])
    assert (student.reference_seconds, pruning.reference_seconds) == (10.0, 10.0)
    with pytest.raises(RecipeError, match="distils a student"):
        pruning_part(student)
    with pytest.raises(RecipeError, match="the recipe prunes a model, so it has no `student`"):
        student_part(pruning)


def test_a_student_starts_from_its_teacher_head_included_and_has_no_layerdrop() -> None:
    teacher = tiny_model("hubert", "ForSequenceClassification", num_labels=2, layerdrop=0.3)
    task = Classification(("0", "1"))
    recipe = recipe_of("ks_digits_hj_mac_kd", "pruning=null", STUDENT)
    student = new_student(recipe.student, teacher, task)
    assert student.config.layerdrop == 0.0
    assert len(student.hubert.encoder.layers) == 1
    given = dict(teacher.named_parameters())
    for name, parameter in student.named_parameters():
        assert torch.equal(parameter, given[name]), name
    fresh = new_student(
        recipe_of("ks_digits_hj_mac_kd", "pruning=null", f"{STUDENT[:-1]}, init: random}}").student,
        teacher,
        task,
    )
    assert not torch.equal(fresh.classifier.weight, teacher.classifier.weight)


def test_a_student_without_labels_is_bare() -> None:
    teacher = tiny_model("hubert", "ForCTC")
    task = Representation()
    bare = task.head.put_on(teacher)
    assert bare is teacher.base_model
    assert (task.encode("word"), task.judge([], bare), task.loss_function()) == (None, None, None)
    with pytest.raises(DistillationError, match="layers: found"):
        new_student(recipe_of("distilhubert", "student.layers=9").student, bare, task)


@pytest.mark.slow
def test_a_student_learns_a_task_with_labels(tmp_path: Path) -> None:
    recipe = recipe_of("ks_digits_hj_mac_kd", "pruning=null", STUDENT, "smoke=true", f"output={tmp_path}/out")
    outcome = pipeline.run(recipe, say=lambda line: None)
    results = outcome.report.data.results
    assert set(results) == {"dense", "student", "distilled"}
    assert all({"accuracy", "accuracy_low", "loss"} <= set(found) for found in results.values())
    assert outcome.plan is None
    table = outcome.report.table()
    assert table.columns == ["", "dense", "student", "kept / gain"]
    assert table.rows[0][0] == "accuracy"
    assert type(prune_ssl.load_pretrained(outcome.model_folder)).__name__ == "HubertForSequenceClassification"


@pytest.mark.slow
def test_a_student_that_was_interrupted_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch) -> None:
    def made(folder: str) -> Recipe:
        return recipe_of("star_hubert", "smoke=true", "checkpoint_steps=5", f"output={tmp_path}/{folder}")

    whole = pipeline.run(made("whole"), say=lambda line: None)
    with monkeypatch.context() as broken:
        broken.setattr("prune_ssl.pipeline.running.hand_over", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pipeline.run(made("cut"), say=lambda line: None)
    for left in (tmp_path / "cut" / "distillation").glob("checkpoint-8"):
        left.rename(tmp_path / "gone")  # as if killed between steps 5 and 8
    resumed = pipeline.run(made("cut"), say=lambda line: None, resume=True)
    again = resumed.model.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in whole.model.state_dict().items())
