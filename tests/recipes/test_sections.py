"""Sections of a recipe are configs of the package: same defaults, same refusals, each at its key."""

import dataclasses
from typing import get_args

import pytest
import torch
import yaml
from transformers import get_scheduler

from prune_ssl.data import AugmentConfig, CorruptionConfig, StreamSource
from prune_ssl.distillation import DistillationConfig
from prune_ssl.distillation.students import STUDENTS, StudentConfig
from prune_ssl.errors import RecipeError
from prune_ssl.gating import PruningConfig
from prune_ssl.recipes import config_of, make_recipe
from prune_ssl.recipes.reading import all_keys
from prune_ssl.recipes.schema import Recipe
from prune_ssl.recipes.sections import Scheduler
from prune_ssl.recipes.written import recipe_as_yaml
from prune_ssl.tasks import BeamSettings

PRUNING = {"budget": "macs=50%", "steps": 9, "learning_rate": 1e-3}
PLAIN = {"name": "plain", "data": {"path": "clips"}, "pruning": PRUNING}
STUDENT = {"name": "small", "data": {"path": "clips"}, "distillation": {"losses": {"l1": 1.0}}}


@pytest.mark.parametrize(
    ("section", "config", "own"),
    [
        ("pruning", PruningConfig, {"milestones", "default_kinds"}),
        ("distillation", DistillationConfig, set()),
        ("student", StudentConfig, set()),
        ("data.augment", AugmentConfig, set()),
        ("data.corruption", CorruptionConfig, set()),
        ("data.stream", StreamSource, set()),
        ("decoding", BeamSettings, set()),
    ],
)
def test_a_recipe_may_say_all_that_a_config_holds(section, config, own):
    fields = {each.name for each in dataclasses.fields(config)} - own
    assert {f"{section}.{name}" for name in fields} <= set(all_keys(Recipe))


def test_the_defaults_are_those_of_the_configs():
    recipe = make_recipe(PLAIN | {"data": {"path": "clips", "stream": {}}})
    assert config_of(recipe.pruning, PruningConfig, steps=None) == PruningConfig(budget="macs=50%")
    assert recipe.data.augment == AugmentConfig()
    assert recipe.data.stream == StreamSource()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pruning": PRUNING | {"warmup": 2}}, "pruning.warmup: found 2.0, wanted from 0 to 1"),
        ({"pruning": PRUNING | {"initial_keep": 0.5}}, "pruning.initial_keep: found 0.5, wanted between"),
        ({"pruning": PRUNING | {"layout": "stock", "kinds": ["heads"]}}, "pruning.kinds: layout 'stock' can"),
        ({"pruning": PRUNING | {"steps": 0}}, "pruning.steps: Input should be greater than 0, found 0"),
        ({"pruning": PRUNING | {"milestones": ["macs=60%"]}}, "unknown key 'pruning.milestones'"),
        ({"distillation": {"losses": {"l1": 0}}}, "distillation.losses.l1: found weight 0.0, wanted a"),
        ({"distillation": {}}, "distillation.losses: Field required"),
        ({"distillation": {"losses": {"l1": 1}, "layers": [-1]}}, "distillation.layers: found [-1], wanted"),
        ({"data": {"path": "c", "augment": {"snr_db": [9, 1]}}}, "data.augment.snr_db: found 9.0 to 1.0"),
        ({"data": {"path": "c", "corruption": {"white_probability": 2}}}, "from 0 to 1"),
        ({"data": {"path": "c", "stream": {"buffer": 0}}}, "data.stream.buffer: found 0, wanted at least 1"),
        ({"data": {"path": "c", "stream": {"path": "d"}}}, "unknown key 'data.stream.path'"),
        (
            {"decoding": {"lm": "x.arpa", "beam": 0}, "task": "ctc"},
            "decoding.beam: found 0, wanted 1 or more",
        ),
        ({"decoding": {}, "task": "ctc"}, "decoding.lm: Field required"),
        ({"dense": {"steps": 1, "learning_rate": 0}}, "dense.learning_rate: Input should be greater than 0"),
    ],
)
def test_a_refusal_of_a_config_is_said_of_its_key(changes, words):
    with pytest.raises(RecipeError) as refused:
        make_recipe(PLAIN | changes)
    assert words in str(refused.value)


def student(**given):
    return make_recipe(STUDENT | {"student": {"steps": 5, "learning_rate": 1e-3} | given})


def test_a_named_student_has_its_shape_but_for_what_is_said():
    assert config_of(student(name="armhubert").student, StudentConfig) == STUDENTS["armhubert"]
    wide = student(name="armhubert", hidden_size=512, init=None).student
    assert config_of(wide, StudentConfig) == dataclasses.replace(STUDENTS["armhubert"], hidden_size=512)
    assert wide.shown == "armhubert, hidden_size=512"
    with pytest.raises(RecipeError, match=r"student\.name: found 'armhubert_xl', wanted one of distilhubert"):
        student(name="armhubert_xl")


def test_a_written_student_reads_back_and_may_be_renamed():
    recipe = student(name="star_hubert", intermediate_size=800)
    data = yaml.safe_load(recipe_as_yaml(recipe))
    assert make_recipe(data) == recipe
    assert (data["student"]["hidden_size"], data["student"]["intermediate_size"]) == (None, 800)
    data["student"]["name"] = "maskhubert"
    renamed = config_of(make_recipe(data).student, StudentConfig)
    assert renamed == dataclasses.replace(STUDENTS["maskhubert"], intermediate_size=800)


def test_a_stock_layout_leaves_the_kinds_as_they_are_said():
    recipe = make_recipe(PLAIN | {"pruning": PRUNING | {"layout": "stock"}})
    assert config_of(recipe.pruning, PruningConfig).kinds == ("conv", "ffn")
    data = yaml.safe_load(recipe_as_yaml(recipe))
    data["pruning"]["layout"] = "hetero"
    assert make_recipe(data) == make_recipe(PLAIN)


def test_only_the_last_of_several_budgets_is_no_milestone():
    given = {"budgets": ["80%", "60%"], "steps": 9, "learning_rate": 1e-3}
    recipe = make_recipe(PLAIN | {"pruning": given})
    assert config_of(recipe.pruning, PruningConfig).milestones == ("macs=80%",)
    assert "milestones" not in recipe_as_yaml(recipe)
    with pytest.raises(RecipeError, match=r"pruning: milestones: macs=60% must be larger than macs=80%"):
        make_recipe(PLAIN | {"pruning": given | {"budgets": ["60%", "80%"]}})


@pytest.mark.parametrize("scheduler", get_args(Scheduler))
def test_every_scheduler_of_a_recipe_needs_no_more_than_the_steps(scheduler):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    made = get_scheduler(scheduler, optimizer, num_warmup_steps=1, num_training_steps=4)
    optimizer.step()
    made.step()
