"""One graph for the tests of the room that count a large model."""

import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from prune_ssl.tracing import trace


@pytest.fixture(scope="session")
def base_graph():
    with torch.device("meta"):
        return trace(Wav2Vec2Model(Wav2Vec2Config()))
