"""A probe on a GPU: encoder, heads, targets and metrics are where they must be."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from prune_ssl.probing import PROBES, probe
from prune_ssl.probing.states import FrozenStates
from tests.pretended.device import PretendedDevice
from tests.support.models import tiny_model
from tests.support.probing import EXTRACTOR, write_corpus


@pytest.mark.parametrize("task", ["ks", "pr"])
def test_a_probe_learns_on_the_device_of_the_encoder(
    gpu: PretendedDevice, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = "phonemes" if task == "pr" else PROBES[task].target
    data = write_corpus(tmp_path / "tones", {"train": 4, "validation": 2}, target)
    settings = replace(PROBES[task], steps=2, batch_size=2, rates=(1e-2,))
    found, places = [], set()
    batch = FrozenStates.batch

    def noting(states: FrozenStates, clips):
        given = batch(states, clips)
        places.update(each.device.type for each in given)
        return given

    monkeypatch.setattr(FrozenStates, "batch", noting)
    encoder = tiny_model("hubert", "Model", num_hidden_layers=1)
    for device in ("cpu", "cuda"):
        places.clear()
        model = copy.deepcopy(encoder).to(device)
        found.append(probe(model, EXTRACTOR, data, settings, say=lambda line: None).value)
        assert places == {device}
    assert found[0] == found[1], found
