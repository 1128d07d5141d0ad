"""trainer_for trains a model of the caller's as a run of the recipe trains its own."""

import copy
import itertools

import pytest
import torch
from torch import nn

from prune_ssl import Plan, resize, save_pretrained, trace
from prune_ssl.errors import DistillationError
from prune_ssl.models.filterbank import first_convolution
from prune_ssl.pipeline import run, trainer_for
from prune_ssl.pipeline.preparation import prepare
from prune_ssl.pipeline.trained_alike import fixed_parts
from prune_ssl.recipes import load_recipe
from prune_ssl.training import phases
from prune_ssl.training.freezing import frozen
from tests.support.models import checksum, tiny_model
from tests.support.slow import slow_but

WHOLE = ["pruning.method=one_shot", "pruning.budget='macs=100%'"]
METHODS = {"one_shot": ["pruning.method=one_shot"], "whole": WHOLE, "gates": []}


def of_other_settings(model):
    """The model as another tool may leave it: other dropouts, other trained parameters, another dtype."""
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(index % 3 > 0)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.3
    model.config.update({"layerdrop": 0.4, "mask_time_prob": 0.3, "apply_spec_augment": True})
    return model


@pytest.mark.filterwarnings("ignore::prune_ssl.PruneWarning")
@pytest.mark.parametrize(
    ("method", "filterbank"),
    slow_but([("whole", "fixed"), ("gates", "true")], itertools.product(METHODS, ["true", "fixed", "false"])),
)
def test_equal_models_get_equal_weights(recipe, tmp_path, method, filterbank):
    more = ["dense=null", f"model.filterbank={filterbank}", *METHODS[method]]
    loaded, lines = load_recipe(recipe, [*more, f"output={tmp_path}/run"]), []
    model = of_other_settings(copy.deepcopy(prepare(loaded, False, lambda line: None).model))
    filters = first_convolution(model).weight.detach().clone()
    made = run(loaded, say=lines.append)
    trainer = trainer_for(load_recipe(recipe, [*more, f"output={tmp_path}/own"]), model, lambda line: None)
    trainer.train()
    small = trainer.finalize()
    assert checksum(small) == checksum(made.model)
    kept = filters[list(made.plan.keep.get("conv.0", range(len(filters))))]
    stayed = torch.equal(first_convolution(small).weight, kept)
    assert stayed == (filterbank == "fixed")
    fixed = [line for line in lines if "not trained" in line]
    phase = "pruning" if method == "gates" else "round-1"
    assert fixed == [
        f"  {name}: not trained, stays as it is: first convolution"
        for name in (phase, "recovery")
        if filterbank == "fixed"
    ]


@pytest.mark.filterwarnings("ignore::prune_ssl.PruneWarning")
@pytest.mark.slow
@pytest.mark.parametrize("filterbank", ["fixed", "false"])
def test_the_cut_of_gates_recovers_as_it_does_in_a_run(recipe, tmp_path, monkeypatch, filterbank):
    recover, cuts = phases.recover, []

    def noted(running, model, steps=None):
        cuts.append(copy.deepcopy(model))
        return recover(running, model, steps)

    monkeypatch.setattr(phases, "recover", noted)
    more = ["dense=null", f"model.filterbank={filterbank}"]
    loaded = load_recipe(recipe, [*more, f"output={tmp_path}/run"])
    made = run(loaded, say=lambda line: None).model
    (cut,) = cuts
    before = checksum(cut)
    whole = load_recipe(recipe, [*more, *WHOLE, f"output={tmp_path}/own"])
    trainer = trainer_for(whole, of_other_settings(cut), lambda line: None)
    trainer.run.record.plan = Plan({})
    assert checksum(recover(trainer.run, trainer.model, loaded.pruning.steps)) == checksum(made) != before


@pytest.mark.parametrize(("preset", "grows"), [("tuned", True), ("hj_pruning", False)])
def test_the_learning_rate_is_that_of_the_share_of_the_macs(recipe, preset, grows):
    loaded = load_recipe(recipe, ["dense=null", "output=x", f"pruning.preset={preset}", *WHOLE])
    dense = prepare(loaded, True, lambda line: None).model
    graph, keep = trace(dense), {"layer.0.ffn": (0, 1, 2), "conv.0": (1, 3)}
    kept = graph.cost(keep, seconds=1.0).macs / graph.cost(seconds=1.0).macs
    trainer = trainer_for(loaded, resize(dense, graph, keep), lambda line: None)
    factor = kept**-0.25 if grows else 1.0
    assert trainer.run.learning_rate({}) == loaded.pruning.learning_rate * factor
    assert kept < 0.9


def test_dropouts_of_a_named_model_are_those_of_the_recipe(recipe, tmp_path):
    made = prepare(load_recipe(recipe, WHOLE), False, lambda line: None)
    save_pretrained(made.model, tmp_path / "dense", processor=made.extractor)
    rates = "model.config={hidden_dropout: 0.25, attention_dropout: 0.15, mask_time_prob: 0.2}"
    loaded = load_recipe(recipe, [f"model.name={tmp_path}/dense", "dense=null", rates, *WHOLE, "output=x"])
    wanted = prepare(loaded, True, lambda line: None).model
    model = of_other_settings(copy.deepcopy(wanted).half())
    trainer = trainer_for(loaded, model, lambda line: None)
    assert trainer.model is model
    assert model.dtype == torch.float32
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert str(model) == str(wanted)  # it shows the modules with their dropouts
    attention = [each.encoder.layers[0].attention.dropout for each in (model.hubert, wanted.hubert)]
    assert attention == [0.15, 0.15]
    assert (model.config.mask_time_prob, model.config.layerdrop) == (0.2, 0.0)


def test_a_cut_model_is_taught_by_the_dense_one(recipe, tmp_path):
    given = ["distillation={losses: {cosine: 1.0}}", *WHOLE]
    loaded = load_recipe(recipe, [*given, "dense=null", "output=x"])
    dense = prepare(loaded, True, lambda line: None).model
    cut = resize(dense, trace(dense), {"layer.0.ffn": (0, 1, 2)})
    trainer = trainer_for(loaded, cut, lambda line: None)
    assert checksum(trainer.distiller.teacher) == checksum(dense)
    trained = load_recipe(recipe, [*given, "output=y"])
    with pytest.raises(DistillationError, match=r"trainer_for: .* give model\.name=FOLDER"):
        trainer_for(trained, cut, lambda line: None)
    assert trainer_for(trained, dense, lambda line: None).distiller is not None


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        (None, []),
        ("frontend", ["frontend"]),
        ("backbone", ["backbone"]),
        ("first convolution", ["first convolution"]),
        ("bias", ["hubert.encoder.layers.0.feed_forward.output_dense.bias", "classifier"]),
        ("all", ["the whole model"]),
    ],
)
def test_parts_that_are_not_trained_are_named(part, shown):
    model = tiny_model("hubert", "ForSequenceClassification")
    if part == "first convolution":
        first_convolution(model).requires_grad_(False)
    if part == "bias":
        model.hubert.encoder.layers[0].feed_forward.output_dense.bias.requires_grad_(False)
        model.classifier.requires_grad_(False)
    if part == "all":
        model.requires_grad_(False)
    with frozen(model, part if part in ("frontend", "backbone") else None):
        assert fixed_parts(model) == shown
