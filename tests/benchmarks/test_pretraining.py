"""The small HuBERT: its targets, its batches, and a run that is stopped and goes on."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from pretrain_small import main
from pretraining.audio import Corpus, decode
from pretraining.model import frames_of, new_model
from pretraining.probe import linear_accuracy
from pretraining.targets import Mfcc, k_means, make_targets, nearest
from pretraining.training import Batches, Schedule, span_mask
from transformers import HubertModel

TINY = {
    "conv_dim": [8, 8, 16],
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A corpus of tones with a training split, and a test split that nobody may read."""
    root, generator = tmp_path_factory.mktemp("corpora"), np.random.default_rng(0)
    for split in ("train", "validation"):
        folder = root / "arabic_commands" / split
        folder.mkdir(parents=True)
        with (folder / "metadata.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["file_name", "label", "speaker"])
            for index in range(6):
                samples = np.sin(np.arange(16_000 + 800 * index) * (0.05 + 0.1 * (index % 2)))
                samples = 0.3 * samples + 0.01 * generator.standard_normal(len(samples))
                soundfile.write(folder / f"{index}.wav", samples, 16_000)
                rows.writerow([f"{index}.wav", f"word{index % 2}", f"s{index % 3}"])
    (root / "arabic_commands" / "test").mkdir()
    (root / "arabic_commands" / "test" / "metadata.csv").write_text("no list of clips")
    return root


@pytest.fixture(scope="module")
def config():
    return new_model(4, **TINY).config


@pytest.fixture(scope="module")
def store(data, tmp_path_factory):
    return decode(data, tmp_path_factory.mktemp("store"), (Corpus("arabic_commands", "", ""),))


def test_clips_are_decoded_once_and_come_with_unit_variance(store, data):
    assert len(store.pieces) == 6
    assert store.pieces[1].speaker == "arabic_commands/s1"
    clip = store.clip(3)
    assert len(clip) == 16_000 + 3 * 800
    assert abs(clip.mean()) < 1e-4
    assert clip.std() == pytest.approx(1, abs=1e-3)
    assert decode(data / "gone", Path(store.samples.filename).parent).pieces == store.pieces


@pytest.mark.parametrize("samples", [800, 1_119, 1_120, 16_000, 31_999])
def test_targets_have_a_frame_for_each_of_the_models(samples, config):
    model = new_model(4, **TINY).hubert.eval()
    audio = torch.randn(samples)
    with torch.no_grad():
        frames = model(audio[None]).last_hidden_state.shape[1]
    assert frames_of(samples, config) == frames == len(Mfcc(config)(audio.numpy()))


def test_k_means_finds_well_separated_clusters():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = centres.repeat_interleave(50, 0) + 0.1 * torch.randn(150, 2)
    found = k_means(points, 3, torch.Generator().manual_seed(1))
    groups = nearest(points, found).view(3, 50)
    assert (groups == groups[:, :1]).all()
    assert len(set(groups[:, 0].tolist())) == 3


def test_a_batch_is_the_same_each_time_and_its_targets_lie_where_its_samples_do(store, config, tmp_path):
    path = tmp_path / "targets"
    make_targets(store, Mfcc(config), 4, path)
    batches = Batches(store, path, config, Schedule(steps=3, batch_seconds=2.0, crop_seconds=0.5))
    first, again, other = batches[1], batches[1], batches[2]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["input_values"], other["input_values"])
    assert first["input_values"].shape == (4, 8_000)
    assert first["labels"].shape == first["mask_time_indices"].shape == (4, frames_of(8_000, config))
    audio = first["input_values"][0].numpy()
    for index in range(6):  # the clip that holds the piece has the same targets there
        starts = [s for s in range(0, 16_000, 320) if np.array_equal(store.clip(index)[s : s + 8_000], audio)]
        for start in starts:
            place = int(batches.places[index]) + start // 320
            assert first["labels"][0].tolist() == list(
                batches.targets[place : place + len(first["labels"][0])]
            )
            return
    raise AssertionError("the piece is of no clip")


def test_masks_are_spans_that_leave_a_frame():
    for frames in (2, 10, 48):
        masked = span_mask(frames, np.random.default_rng(frames))
        assert 0 < masked.sum() < frames


def test_a_linear_probe_separates_what_is_separable():
    labels = torch.arange(40) % 2
    features = torch.randn(40, 3) + 6 * labels[:, None]
    assert linear_accuracy((features[:20], features[20:]), (labels[:20], labels[20:])) == 1


def test_a_stopped_run_goes_on_from_its_checkpoint_and_is_probed_and_released(
    data, tmp_path, monkeypatch, capsys
):
    def run(*arguments):
        shared = ["--data", str(data), "--out", str(tmp_path), "--config", json.dumps(TINY)]
        sizes = ["--batch-seconds", "2", "--crop-seconds", "0.5"]
        monkeypatch.setattr("sys.argv", ["pretrain_small.py", *shared, *sizes, *arguments])
        monkeypatch.setattr("pretrain_small.CLUSTERS", {1: 4, 2: 5})
        assert main() == 0
        return capsys.readouterr().out

    assert "step" in run("--steps", "4", "--minutes", "0")  # a checkpoint after the first step
    assert [each.name for each in (tmp_path / "round1" / "training").iterdir()] == ["checkpoint-1"]
    assert not (tmp_path / "round1" / "model").exists()
    assert "step 4 of 4" in run("--steps", "4")
    assert "random: layers 0 to 2" in run("--probe")
    run("--release", str(tmp_path / "release"))
    model = HubertModel.from_pretrained(tmp_path / "release", dtype=torch.float32)
    assert model.config.hidden_size == 16
    assert "Arabic Speech Commands" in (tmp_path / "release" / "README.md").read_text()
    assert "step 2 of 2" in run("--round", "2", "--layer", "1", "--steps", "2")
