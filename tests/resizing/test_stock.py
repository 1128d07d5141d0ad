"""Layout stock: cuts that a stock config can say, as models of the stock class, equal to the cut model."""

import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from prune_ssl import (
    PruningConfig,
    PruningTrainer,
    attach_gates,
    resize,
    save_pretrained,
    select,
    to_stock,
    trace,
)
from prune_ssl.errors import BudgetError, ModelError
from prune_ssl.selection import Bounds, allowed_widths, resolve, solve, ties_of
from prune_ssl.selection.steps import worth
from tests.support.keeps import random_scores
from tests.support.models import ONE_OF_EACH, batch, first_output, relative_difference, tiny_model
from tests.support.training import Tones, arguments

KINDS = ("conv", "heads", "ffn", "layer")


@pytest.mark.parametrize(("family", "head", "norm"), [*ONE_OF_EACH, ("wav2vec2", "ForCTC", "layer")])
def test_the_stock_model_is_the_cut_model(family, head, norm):
    model = tiny_model(family, head, norm).double()
    graph = trace(model)
    keep = select(model, graph, "macs=70%", "random", 2, KINDS, seconds=1.0, layout="stock")
    cut = resize(model, graph, keep)
    stock = to_stock(cut)
    assert type(stock) is type(model)
    for padded in (False, True):
        inputs = batch(model, padded=padded)
        found, wanted = first_output(stock, **inputs), first_output(cut, **inputs)
        assert relative_difference(found, wanted) < 1e-9
        assert relative_difference(found, first_output(model, **inputs)) > 1e-6
    found, wanted = trace(stock).cost(seconds=1.0), graph.cost(keep, 1.0)
    assert (found.params, found.macs) == (wanted.params, wanted.macs)
    assert graph.cost(keep, 1.0).macs <= 0.7 * graph.cost(seconds=1.0).macs


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_layers_that_are_gone_are_gone_and_the_bias_of_wavlm_stays(family):
    model = tiny_model(family, "Model").double()
    graph = trace(model)
    widths = allowed_widths(graph, 1, KINDS, "stock")
    assert widths["layer.0"] == ([1] if family == "wavlm" else [0, 1])
    cut = resize(model, graph, {"layer.1": ()})
    stock = to_stock(cut)
    assert stock.config.num_hidden_layers == 2
    inputs = batch(model)
    assert relative_difference(first_output(stock, **inputs), first_output(cut, **inputs)) < 1e-9


@pytest.mark.parametrize(("family", "head", "norm"), [case for case in ONE_OF_EACH if case[0] != "wavlm"])
def test_a_stock_model_may_have_no_layer_at_all(family, head, norm):
    model = tiny_model(family, head, norm).double()
    graph = trace(model)
    keep = {name: () for name in graph.groups if graph.groups[name].kind == "layer"}
    cut = resize(model, graph, keep)
    stock = to_stock(cut)
    inputs = batch(model)
    assert torch.equal(first_output(stock, **inputs), first_output(cut, **inputs))
    found, wanted = trace(stock).cost(seconds=1.0), graph.cost(keep, 1.0)
    assert (found.params, found.macs) == (wanted.params, wanted.macs)


@pytest.mark.slow
def test_a_saved_stock_model_loads_without_prune_ssl(tmp_path):
    model = tiny_model("wav2vec2", "ForSequenceClassification")
    graph = trace(model)
    stock = to_stock(resize(model, graph, select(model, graph, "params=80%", layout="stock", round_to=1)))
    audio = torch.randn(1, 8000)
    folder = save_pretrained(stock, tmp_path / "model")
    save_file({"audio": audio, "wanted": first_output(stock, audio)}, tmp_path / "wanted.safetensors")
    code = (
        "import sys, torch\n"
        "sys.modules['prune_ssl'] = None\n"
        "from safetensors.torch import load_file\n"
        "from transformers import AutoModelForAudioClassification\n"
        "data = load_file(sys.argv[2])\n"
        "model = AutoModelForAudioClassification.from_pretrained(sys.argv[1]).eval()\n"
        "with torch.no_grad(): found = model(data['audio']).logits\n"
        "print(type(model).__name__, torch.allclose(found, data['wanted'], atol=1e-6))\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(folder), str(tmp_path / "wanted.safetensors")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert found == "Wav2Vec2ForSequenceClassification True"


@pytest.fixture(scope="module")
def small_graph():
    torch.manual_seed(0)
    convs = {"conv_dim": (12, 10, 8), "conv_kernel": (10, 8, 4), "conv_stride": (5, 4, 2)}
    return trace(tiny_model(**convs, num_feat_extract_layers=3, num_hidden_layers=2))


def test_tied_groups_end_alike_at_the_optimum_and_never_over_budget(small_graph):
    graph, gaps = small_graph, []
    widths, ties = allowed_widths(graph, 4, None, "stock"), ties_of(graph, "stock")
    assert ties == [["layer.0.ffn", "layer.1.ffn"]]
    free = [name for name in graph.groups if len(widths[name]) > 1 and name != "layer.1.ffn"]
    for seed in range(20):
        generator = np.random.default_rng(seed)
        scores = random_scores(graph, generator, ("priced", "scaled", "plain")[seed % 3])
        share = int(generator.integers(89, 98))
        limits = resolve(f"macs={share}%,params={min(share + 2, 100)}%", graph, widths, 1.0)
        keep = solve(graph, scores, Bounds(limits, widths, ties))
        found = graph.widths(keep)
        assert found["layer.0.ffn"] == found["layer.1.ffn"]
        assert found["layer.0.heads"] == graph.groups["layer.0.heads"].size
        assert all(limit.cost.value(found) <= limit.maximum for limit in limits)
        values = {name: worth(group, scores[name], widths[name]) for name, group in graph.groups.items()}
        best = 0.0
        for chosen in product(*[widths[name] for name in free]):
            each = graph.widths() | dict(zip(free, chosen, strict=True))
            each["layer.1.ffn"] = each["layer.0.ffn"]
            if all(limit.cost.value(each) <= limit.maximum for limit in limits):
                best = max(best, sum(values[name][widths[name].index(w)] for name, w in each.items()))
        reached = sum(values[name][widths[name].index(width)] for name, width in found.items())
        assert reached <= best * (1 + 1e-12)
        gaps.append((best - reached) / sum(each[-1] for each in values.values()))
    assert max(gaps) < 0.01
    assert np.mean(np.array(gaps) < 1e-12) >= 0.9


def test_what_a_stock_config_cannot_say_is_refused():
    model = tiny_model()
    graph = trace(model)
    for keep, match in (
        ({"layer.0.ffn": (0, 1)}, "FFNs of 2, 24 neurons"),
        ({"layer.1.heads": (0,)}, "layer 1 with 1 of 4 heads"),
    ):
        with pytest.raises(ModelError, match=match):
            to_stock(resize(model, graph, keep))
    assert to_stock(model) is model


def test_stock_leaves_out_kinds_that_it_cannot_prune():
    assert PruningConfig(budget="macs=50%", layout="stock").kinds == ("conv", "ffn")
    with pytest.raises(BudgetError, match="layout 'stock' can prune conv, ffn, layer"):
        PruningConfig(budget="macs=50%", layout="stock", kinds=("heads",))
    model = tiny_model()
    gates = attach_gates(model, trace(model), PruningConfig(budget="macs=90%", layout="stock", steps=5))
    assert not [name for name in gates.groups if name.endswith("heads")]


@pytest.mark.parametrize("method", ["gates", "iterative"])
def test_training_ends_with_a_stock_model_within_the_budget(tmp_path, method):
    pruning = PruningConfig(
        budget="macs=75%", seconds=1.0, round_to=1, layout="stock", method=method, rounds=2, recovery=0.5
    )
    model = tiny_model(num_labels=2)
    trainer = PruningTrainer(
        model=model, args=arguments(tmp_path, max_steps=8), pruning=pruning, train_dataset=Tones(8)
    )
    trainer.train()
    small = trainer.finalize()
    assert type(small) is type(tiny_model())
    dense = trainer.graph.cost(seconds=1.0).macs
    assert (
        trace(small).cost(seconds=1.0).macs == trainer.graph.cost(trainer.plan.keep, 1.0).macs <= 0.75 * dense
    )
