"""Small cut models to export, and which tests need which extra."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor

import prune_ssl
from prune_ssl.exporting import TARGETS
from prune_ssl.runtimes.inputs import as_feeds, example
from prune_ssl.runtimes.sessions import OPENERS
from tests.support.models import tiny_model

needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, TARGETS["onnx"].packages)), reason="the extra onnx is not installed"
)


needs_openvino = pytest.mark.skipif(not find_spec("openvino"), reason="the extra openvino is not installed")


NORMALISED = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False)
NORMALISED_WITH_MASK = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)


def pruned(family="hubert", head="ForCTC", norm="group", **more):
    model = tiny_model(family, head, norm, **more)
    graph = prune_ssl.trace(model)
    kinds = ["conv", "heads", "ffn"] if family != "wav2vec2-bert" else ["heads", "ffn"]
    keep = prune_ssl.select(model, graph, "params=70%", "random", 1, kinds)
    return prune_ssl.resize(model, graph, keep).eval()


def difference(model, exported, masked, seconds=1.81, rows=2):
    """Between the file and PyTorch, on an input that the export did not try, in the runtime."""
    inputs = example(model, seconds, rows, masked, seed=99)
    with torch.no_grad():
        wanted = model(**inputs)[0].numpy()
    found = OPENERS[TARGETS[exported.target].graph](exported.file)(as_feeds(inputs))[0]
    assert found.shape == wanted.shape
    return np.abs(found - wanted).max() / np.abs(wanted).max()
