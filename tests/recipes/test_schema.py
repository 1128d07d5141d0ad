"""Recipes as a whole: which keys there are, and which go together."""

import pytest

from prune_ssl.errors import RecipeError
from prune_ssl.recipes import load_recipe
from tests.support.paths import RECIPES


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pruning.buget=macs=50%", r"unknown key 'pruning\.buget'; did you mean 'budget'"),
        ("prunning.steps=3", r"unknown key 'prunning'; did you mean 'pruning'"),
        ("batch_size=0", "batch_size: Input should be greater than 0"),
        ("pruning.steps=soon", r"pruning\.steps: Input should be a valid integer"),
        ("steps", "cannot read the override 'steps'; wanted key.sub=value"),
        ("name.sub=1", "name is a value, not a section"),
        ("dense.scheduler=cosin", r"dense\.scheduler: Input should be 'linear', 'cosine'"),
        ("data.path=@corpus", r"override 'data\.path=@corpus': not valid YAML \(while scanning.*put quotes"),
        ("data.path=[a", r"override 'data\.path=\[a': not valid YAML"),
        ("output=runs/{foo}", r"output: .*found 'runs/\{foo\}'; only \{name\} and \{seed\} are filled in"),
        ("output=runs/{", r"output: .*only \{name\} and \{seed\}"),
        ("output=runs/{0}", r"output: .*only \{name\} and \{seed\}"),
        ("output=runs/{name.x}", r"output: .*only \{name\} and \{seed\}"),
        ("data.loss_weights=[1, 2]", "`data.loss_weights` is for task joint, found task classification"),
        (
            "data.margin=0.2",
            "`data.margin` is for task speaker_verification or joint, found task classification",
        ),
        ("data.trials=t.csv", "`data.trials` is for task speaker_verification or joint, found"),
        ("model.tokenizer=letters", "`model.tokenizer` is for task ctc or phonemes, found"),
        ("optimizer.betas=[0.9, 1.5]", r"optimizer\.betas\.1: Input should be less than 1"),
    ],
)
def test_a_wrong_override_is_refused_with_the_nearest_right_key(recipe, override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe, [override])


NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_another_model_by_an_override_may_be_of_another_family(name):
    loaded = load_recipe(name, ["model.name=org/model"])
    assert "family" not in loaded.model.model_fields_set
    assert load_recipe(name, ["model.name=org/model", "model.family=wavlm"]).model.family == "wavlm"
