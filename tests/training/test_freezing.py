"""Freezing: what is frozen stays as it is to the last bit, the rest learns, later phases are free again."""

import pytest
import torch

import prune_ssl
from prune_ssl.errors import ModelError, RecipeError
from prune_ssl.pipeline import run
from prune_ssl.pipeline.preparation import prepare
from prune_ssl.recipes import load_recipe
from prune_ssl.recipes.smoke import smoke_version
from prune_ssl.training.freezing import frozen
from tests.support.models import tiny_model
from tests.support.slow import slow_but

FROZEN = {"backbone": "hubert.", "frontend": "hubert.feature_extractor."}
STUDENT = "{layers: 1, steps: 3, learning_rate: 1.0e-2, freeze: %s, seconds: 1.0}"


@pytest.mark.parametrize("part", slow_but(("backbone",), FROZEN))
def test_the_dense_phase_changes_nothing_that_is_frozen(recipe, tmp_path, part):
    loaded = load_recipe(recipe, [f"dense.freeze={part}", "dense.learning_rate=1.0e-2", "dense.steps=3"])
    before = prepare(loaded, False, lambda line: None).model.state_dict()
    model = run(loaded, say=lambda line: None).folder / "dense"
    after = prune_ssl.load_pretrained(model).state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    kept = {name for name in before if name.startswith(FROZEN[part])}
    assert kept <= same
    learned = set(before) - kept
    assert {"classifier.weight", "projector.weight"} <= learned - same
    assert ("hubert.encoder.layers.1.feed_forward.output_dense.weight" in same) == (part == "backbone")


def test_a_student_with_a_frozen_frontend_keeps_that_of_its_teacher(recipe, tmp_path):
    changes = [f"student={STUDENT % 'frontend'}", "pruning=null", "distillation={losses: {l1: 1.0}}"]
    outcome = run(load_recipe(recipe, changes), say=lambda line: None)
    teacher = prune_ssl.load_pretrained(outcome.folder / "dense").state_dict()
    student = prune_ssl.load_pretrained(outcome.model_folder).state_dict()
    assert student.keys() < teacher.keys()
    for name, value in student.items():
        if name.startswith(FROZEN["frontend"]):
            assert torch.equal(value, teacher[name]), name
    assert not torch.equal(student["classifier.weight"], teacher["classifier.weight"])


def test_what_is_frozen_neither_drops_nor_gathers_statistics_and_learns_again_after():
    model = tiny_model("wav2vec2-conformer", hidden_dropout=0.5, mask_time_prob=0.9, mask_time_length=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = next(model.base_model.parameters()).requires_grad_(False)
    audio = torch.randn(2, 8_000)
    with frozen(model, "backbone"):
        model.train()
        logits = model(audio).logits
        logits.sum().backward()
        assert torch.equal(logits, model.train()(audio).logits)
    assert all(parameter.grad is None for parameter in model.base_model.parameters())
    assert model.classifier.weight.grad is not None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not first.requires_grad
    assert all(p.requires_grad for p in model.parameters() if p is not first)
    model.train()
    assert not torch.equal(model(audio).logits, model(audio).logits)


def test_a_part_that_is_not_there_or_all_there_is_cannot_be_frozen(recipe):
    with pytest.raises(ModelError, match="freeze: backbone"), frozen(tiny_model(head="Model"), "backbone"):
        pass
    with pytest.raises(RecipeError, match=r"dense\.freeze: Input should be 'backbone' or 'frontend'"):
        load_recipe(recipe, ["dense.freeze=encoder"])
    bare = ["task=representation", "dense=null", "pruning=null", "distillation={losses: {l1: 1.0}}"]
    with pytest.raises(RecipeError, match=r"leave `student\.freeze` out"):
        load_recipe(recipe, [*bare, f"student={STUDENT % 'backbone'}"])


def test_a_smoke_run_freezes_too(recipe):
    assert smoke_version(load_recipe(recipe, ["dense.freeze=backbone"])).dense.freeze == "backbone"
    assert smoke_version(load_recipe(recipe, ["dense=null"])).dense.freeze is None
