"""The SUPERB probe on dense and pruned models, and SUPERB's scores against the published ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import prune_ssl
from prune_ssl.data import Clip
from prune_ssl.errors import DataError
from prune_ssl.probing import PROBES, probe
from prune_ssl.probing.probes import _batches
from tests.support.models import tiny_model
from tests.support.probing import EXTRACTOR, write_corpus


def test_balanced_batches_draw_labels_equally_often() -> None:
    clips = [Clip(Path(f"{index}"), "often" if index else "seldom", 1.0) for index in range(10)]
    settings = replace(PROBES["ks"], batch_size=500, seed=0)
    assert 200 < sum(index == 0 for index in next(_batches(clips, settings))) < 300
    plain = replace(settings, balanced=False, batch_size=4)
    batches = _batches(clips, plain)
    drawn = [*next(batches), *next(batches)]
    assert len(set(drawn)) == 8


@pytest.mark.parametrize("pruned", [False, True])
def test_a_probe_learns_on_a_frozen_encoder(pruned: bool, tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "tones", {"train": 8, "validation": 4, "test": 4})
    model = tiny_model("wav2vec2", "ForCTC")
    if pruned:
        graph = prune_ssl.trace(model)
        model = prune_ssl.resize(model, graph, prune_ssl.select(model, graph, "macs=70%", round_to=1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    settings = replace(PROBES["ks"], steps=60, batch_size=8)
    lines: list[str] = []
    found = probe(model, EXTRACTOR, data, replace(settings, rates=(1e-2, 1e-9)), say=lines.append)
    assert found.value == 1.0
    ((best, other),) = found.folds
    assert (best.learning_rate, best.test["accuracy"]) == (1e-2, 1.0)
    assert other.learning_rate == 1e-9
    assert len(best.layer_weights) == model.config.num_hidden_layers + 1
    assert sum(best.layer_weights) == pytest.approx(1)
    assert len(lines) == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_slots_phonemes_and_folds_are_probed(tmp_path: Path) -> None:
    model = tiny_model("hubert", "Model")
    splits = {"train": 8, "validation": 4}
    two = write_corpus(tmp_path / "two", splits, "action,object")
    settings = replace(PROBES["ic"], target="action|object", steps=80, batch_size=8)
    found = probe(model, EXTRACTOR, two, replace(settings, rates=(1e-2,)), say=lambda line: None)
    assert found.value == 1.0
    assert found.folds[0][0].test["action_accuracy"] == 1.0
    spoken = write_corpus(tmp_path / "spoken", splits, "phonemes")
    settings = replace(PROBES["pr"], steps=150, batch_size=8)
    found = probe(model, EXTRACTOR, spoken, replace(settings, rates=(1e-1,)), say=lambda line: None)
    assert found.metric == "per"
    assert found.value < 0.5  # what one label everywhere has
    folds = tmp_path / "folds"
    for name in ("1", "2"):
        write_corpus(folds / name, splits)
    settings = replace(PROBES["er"], steps=2, batch_size=8)
    found = probe(model, EXTRACTOR, folds, replace(settings, rates=(1e-3,)), say=lambda line: None)
    assert len(found.folds) == 2
    assert found.value == np.mean([heads[0].test["accuracy"] for heads in found.folds])


def quick_probe(data: Path) -> tuple[int, list[str]]:
    """Probe the keyword of a corpus for two steps; folds, and what was said."""
    lines: list[str] = []
    settings = replace(PROBES["ks"], steps=2, batch_size=4)
    found = probe(
        tiny_model("hubert", "Model"), EXTRACTOR, data, replace(settings, rates=(1e-3,)), say=lines.append
    )
    return len(found.folds), lines


def test_a_corpus_is_probed_as_it_is_unpacked(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for word in ("no", "yes"):
        (tmp_path / word).mkdir()
        for number in range(4):
            noise = 0.1 * generator.standard_normal(8_000)
            soundfile.write(tmp_path / word / f"ab{number}_nohash_0.wav", noise, 16_000)
    for name, number in (("validation", 2), ("testing", 3)):
        clips = [f"{word}/ab{number}_nohash_0.wav" for word in ("no", "yes")]
        (tmp_path / f"{name}_list.txt").write_text("\n".join(clips))
    assert quick_probe(tmp_path)[0] == 1


def test_a_folder_is_one_of_folds_only_if_each_of_them_has_splits(tmp_path: Path) -> None:
    for name in ("1", "2"):
        write_corpus(tmp_path / name, {"train": 2, "validation": 2})
    (tmp_path / ".cache").mkdir()
    folds, lines = quick_probe(tmp_path)
    assert folds == 2
    assert lines[1].startswith("2: learning rate")
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match=r"neither a corpus .* nor a folder of folds: raw/ has no splits"):
        quick_probe(tmp_path)


@pytest.mark.parametrize(("name", "message"), [("nowhere", "no such folder"), ("empty", "folder is empty")])
def test_a_folder_without_data_is_no_result(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        quick_probe(tmp_path / name)
