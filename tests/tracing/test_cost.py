"""Costs against closed forms; parts add up to the whole."""

import pytest
import torch
from transformers import HubertConfig, HubertModel

from prune_ssl.errors import KeepError
from prune_ssl.tracing import trace
from tests.support.models import tiny_model


def base_params():
    conv = 512 * 10 + 4 * 512 * 512 * 3 + 2 * 512 * 512 * 2 + 2 * 512
    projection = 2 * 512 + 513 * 768
    position = 768 * 48 * 128 + 128 + 768
    layer = 4 * 769 * 768 + 769 * 3072 + 3073 * 768 + 4 * 768
    return conv + projection + position + 2 * 768 + 12 * layer + 768  # the last: mask embedding


def base_macs(samples):
    frames, total, channels = samples, 0, 1
    for kernel, stride in [(10, 5)] + [(3, 2)] * 4 + [(2, 2)] * 2:
        frames = (frames - kernel) // stride + 1
        total += frames * kernel * channels * 512
        channels = 512
    layer = 4 * frames * 768 * 768 + 2 * frames**2 * 768 + 2 * frames * 768 * 3072
    return total + frames * 512 * 768 + (frames + 1) * 128 * 768 * 48 + 12 * layer


def test_base_parameters_equal_the_closed_form(base_graph):
    assert base_graph.cost().params == base_params() == 94_371_712


@pytest.mark.parametrize(
    ("seconds", "billions"), [(1.0, 6.911), (8.0, 58.498), (10.0, 74.067), (20.0, 157.439)]
)
def test_base_macs_equal_the_closed_form(base_graph, seconds, billions):
    macs = base_graph.cost(seconds=seconds).macs
    assert macs == base_macs(round(seconds * 16_000))
    assert round(macs / 1e9, 3) == billions


def test_hubert_base_costs_the_same_as_wav2vec2_base(base_graph):
    with torch.device("meta"):
        hubert = trace(HubertModel(HubertConfig()))
    assert hubert.cost(seconds=3.3) == base_graph.cost(seconds=3.3)


def test_parts_add_up_to_the_whole(base_graph):
    keep = {"conv.2": range(100), "layer.3.heads": [], "layer.5.ffn": range(8)}
    cost = base_graph.cost(keep, seconds=2.0)
    for parts in (cost.by_section, cost.by_layer):
        assert sum(part.params for part in parts.values()) == cost.params
        assert sum(part.macs for part in parts.values()) == cost.macs
    assert set(cost.by_section) == {"frontend", "projection", "position", "encoder"}


def test_audio_shorter_than_the_receptive_field_is_refused():
    with pytest.raises(KeepError, match="receptive field"):
        trace(tiny_model()).cost(seconds=399 / 16_000)
