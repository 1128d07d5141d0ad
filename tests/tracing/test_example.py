"""Examples: models whose input nothing knows are traced by one; costs of its length, or of any."""

import pytest
import torch
from torch import nn
from transformers import ASTConfig, ASTModel, BertConfig, BertModel

from prune_ssl import load_pretrained, resize, save_pretrained, trace
from prune_ssl.errors import KeepError, ModelError, PruneWarning
from prune_ssl.tracing import Example
from tests.support.examples import counted_macs, held_to_the_law, output_of
from tests.support.models import tiny_model

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 20}
WORDS = {"input_ids": torch.arange(100)[None] % 30}
pytestmark = pytest.mark.filterwarnings(
    "ignore:a folder of this model could not be loaded again", "ignore:.* is written without a config.json"
)


def bert():
    model = BertModel(BertConfig(vocab_size=30, **SIZES), add_pooling_layer=False)
    return model.double().eval()


class Two(nn.Module):
    """Features and a scale, by position."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 10), nn.Linear(10, 4)

    def forward(self, features, scale):
        return self.last(self.first(features * scale).relu())


def test_a_text_encoder_is_cut_by_heads_and_neurons_and_counted_at_any_length():
    model = bert()
    graph = trace(model, example=Example(WORDS, time_axis=1, seconds=2.0))
    assert {name: group.size for name, group in graph.groups.items()} == {
        "layer.0.heads": 4,
        "layer.1.heads": 4,
        "encoder.layer.0.intermediate.dense": 20,
        "encoder.layer.1.intermediate.dense": 20,
    }
    keep = {"layer.0.heads": [2], "layer.1.heads": [0, 1, 3], "encoder.layer.1.intermediate.dense": range(7)}
    small = held_to_the_law(model, graph, keep, WORDS)
    for words in (100, 37, 64):
        inputs = {"input_ids": WORDS["input_ids"][:, :words]}
        assert graph.cost(keep, seconds=words / 50).macs == counted_macs(small, inputs)
    with pytest.raises(KeepError, match="shorter than the frontend's receptive field"):
        graph.cost(seconds=0.01)


def test_without_a_time_axis_costs_are_those_of_the_example_whatever_is_asked():
    model = ASTModel(ASTConfig(max_length=64, num_mel_bins=32, **SIZES)).double().eval()
    spectrogram = torch.zeros(3, 64, 32, dtype=torch.float64)
    graph = trace(model, example=Example(spectrogram, seconds=0.64))
    keep = {"layer.0.heads": [1, 2], "layers.1.mlp.fc1": range(9)}
    small = held_to_the_law(model, graph, keep, spectrogram)
    assert (
        graph.cost(keep, seconds=30.0).macs == graph.cost(keep).macs == counted_macs(small, spectrogram[:1])
    )
    assert graph.cost().seconds == 0.64


def test_what_was_cut_is_saved_and_loaded_by_a_factory_and_the_example(tmp_path):
    model = bert().float()
    graph = trace(model, example=WORDS)
    small = resize(model, graph, {"layer.0.heads": [1]})
    folder = save_pretrained(small, tmp_path / "out", plan={"layer.0.heads": [1]})
    again = load_pretrained(folder, lambda: bert().float(), example=WORDS)
    assert torch.equal(output_of(again, WORDS), output_of(small, WORDS))


def test_inputs_may_come_by_position():
    example = (torch.zeros(1, 5, 6, dtype=torch.float64), torch.zeros(1, 5, 1, dtype=torch.float64))
    model = Two().double().eval()
    graph = trace(model, example=Example(example, time_axis=1, seconds=0.05))
    small = held_to_the_law(model, graph, {"first": [0, 4]}, example)
    longer = tuple(torch.zeros(1, 9, each.shape[2], dtype=torch.float64) for each in example)
    assert graph.cost({"first": [0, 4]}, seconds=0.09).macs == counted_macs(small, longer) == 9 * 2 * 10


class Odd(Two):
    """A product of activations that no term counts."""

    def forward(self, features, scale):
        return super().forward(features @ features.mT @ features, scale)


def test_costs_that_lack_something_are_told():
    example = (torch.zeros(1, 5, 6), torch.zeros(1, 5, 1))
    with pytest.warns(PruneWarning, match=r"are 500 MACs for the example, and torch counts 800"):
        trace(Odd(), example=example)


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ([3], "found .*wanted what the model takes: a tensor"),
        (torch.zeros(1, 5), "does not run on the example's shapes"),
    ],
)
def test_an_example_that_is_none_is_refused(example, message):
    with pytest.raises(ModelError, match=message):
        trace(Two(), example=example)


def test_a_time_axis_must_be_there_and_hold_whole_samples():
    with pytest.raises(ModelError, match="time_axis is 2, and the first tensor has the axes 0 to 1"):
        Example(torch.zeros(1, 5), time_axis=2)
    with pytest.raises(ModelError, match=r"7 entries for 1 s are no whole number of samples each"):
        Example(torch.zeros(1, 7), time_axis=1)


def test_the_example_of_a_known_family_is_refused():
    with pytest.raises(ModelError, match="what a hubert model takes is known; leave the example out"):
        trace(tiny_model(), example=torch.zeros(1, 16_000))
