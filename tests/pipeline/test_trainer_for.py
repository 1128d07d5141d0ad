"""trainer_for trains a model of the caller's as a run of the recipe trains its own."""

import copy
import itertools

import pytest
import torch

from prune_ssl.models.filterbank import first_convolution
from prune_ssl.pipeline import run, trainer_for
from prune_ssl.pipeline.preparation import prepare
from prune_ssl.recipes import load_recipe
from tests.support.models import checksum
from tests.support.slow import slow_but

METHODS = {
    "one_shot": ["pruning.method=one_shot"],
    "whole": ["pruning.method=one_shot", "pruning.budget='macs=100%'"],
    "gates": [],
}


@pytest.mark.filterwarnings("ignore::prune_ssl.PruneWarning")
@pytest.mark.parametrize(
    ("method", "filterbank"),
    slow_but([("whole", True), ("gates", False)], itertools.product(METHODS, [True, False])),
)
def test_equal_models_get_equal_weights(recipe, tmp_path, method, filterbank):
    more = ["dense=null", f"model.filterbank={str(filterbank).lower()}", *METHODS[method]]
    loaded = load_recipe(recipe, [*more, f"output={tmp_path}/run"])
    model = copy.deepcopy(prepare(loaded, False, lambda line: None).model).requires_grad_(True)
    filters = first_convolution(model).weight.detach().clone()
    made = run(loaded, say=lambda line: None).model
    trainer = trainer_for(load_recipe(recipe, [*more, f"output={tmp_path}/own"]), model, lambda line: None)
    trainer.train()
    small = trainer.finalize()
    assert checksum(small) == checksum(made)
    if method == "whole":
        stayed = torch.equal(first_convolution(small).weight, filters)
        assert stayed == filterbank
