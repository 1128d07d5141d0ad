"""The shipped words and models: sizes, splits, formats, and that the demo model knows the words."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from safetensors import safe_open
from transformers import HubertForSequenceClassification, HubertModel, Wav2Vec2FeatureExtractor

from prune_ssl import trace
from prune_ssl.assets import (
    DEMO_MODEL_DIR,
    LABELS,
    SAMPLE_RATE_HZ,
    SHIPPED_MODELS,
    SMALL_HUBERT_DIR,
    WORDS_DIR,
)

SPLITS = ("train", "validation", "test")
MAX_WORDS_BYTES = 4_000_000
MIN_TEST_ACCURACY = 0.90
"""Of every third test clip, 96 of them; the card states the accuracy on all."""


def read_metadata(split: str) -> list[dict[str, str]]:
    with (WORDS_DIR / split / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_words_weigh_at_most_four_megabytes() -> None:
    assert sum(path.stat().st_size for path in WORDS_DIR.rglob("*") if path.is_file()) <= MAX_WORDS_BYTES


@pytest.mark.parametrize("split", SPLITS)
def test_metadata_lists_exactly_the_files_of_its_folder(split: str) -> None:
    listed = [row["file_name"] for row in read_metadata(split)]
    assert len(set(listed)) == len(listed)
    assert set(listed) == {path.name for path in (WORDS_DIR / split).glob("*.ogg")}


@pytest.mark.parametrize("split", SPLITS)
def test_every_clip_is_16_khz_mono_and_as_long_as_its_metadata_says(split: str) -> None:
    for row in read_metadata(split):
        info = soundfile.info(WORDS_DIR / split / row["file_name"])
        assert (info.samplerate, info.channels) == (SAMPLE_RATE_HZ, 1), row
        assert info.frames / SAMPLE_RATE_HZ == pytest.approx(float(row["duration"]), abs=1e-3), row
        assert 0.6 <= float(row["duration"]) <= 1.0, row


@pytest.mark.parametrize("split", SPLITS)
def test_every_speaker_says_every_word(split: str) -> None:
    rows = read_metadata(split)
    speakers = {row["speaker"] for row in rows}
    assert {(row["speaker"], row["label"]) for row in rows} == {
        (s, label) for s in speakers for label in LABELS
    }


def test_no_speaker_is_in_two_splits() -> None:
    speakers = [{row["speaker"] for row in read_metadata(split)} for split in SPLITS]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 75


@pytest.mark.parametrize(("folder", "megabytes"), [(DEMO_MODEL_DIR, 4), (SMALL_HUBERT_DIR, 8)])
def test_weights_are_float16_and_small(folder: Path, megabytes: int) -> None:
    path = folder / "model.safetensors"
    assert path.stat().st_size <= megabytes * 1_000_000
    with safe_open(path, framework="pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.float16}  # noqa: SIM118


@pytest.mark.parametrize("folder", SHIPPED_MODELS.values())
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_configs_name_no_place_on_the_machine_that_made_them(folder: Path, name: str) -> None:
    config = json.loads((folder / name).read_text(encoding="utf-8"))
    assert not [value for value in config.values() if isinstance(value, str) and Path(value).is_absolute()]


def load_demo_model() -> tuple[HubertForSequenceClassification, dict[str, Any]]:
    loaded: Any = HubertForSequenceClassification.from_pretrained(
        DEMO_MODEL_DIR, dtype=torch.float32, output_loading_info=True
    )
    model, info = loaded
    return model.eval(), info


def test_the_model_loads_strictly_and_its_classes_are_the_words() -> None:
    model, info = load_demo_model()
    assert not any(info.values()), info
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model.config.label2id == {label: index for index, label in enumerate(LABELS)}


def test_the_model_knows_the_words_of_unseen_speakers() -> None:
    model, _ = load_demo_model()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(DEMO_MODEL_DIR)
    rows = [row for index, row in enumerate(read_metadata("test")) if index % 3 == index // len(LABELS) % 3]
    clips = [soundfile.read(WORDS_DIR / "test" / row["file_name"], dtype="float32")[0] for row in rows]
    batch = extractor(clips, sampling_rate=SAMPLE_RATE_HZ, padding="longest", return_tensors="pt")
    assert set(batch) == {"input_values"}
    with torch.no_grad():
        chosen = model(batch["input_values"]).logits.argmax(dim=-1)
    wanted = torch.tensor([LABELS.index(row["label"]) for row in rows])
    assert set(wanted.tolist()) == set(range(len(LABELS)))
    assert (chosen == wanted).float().mean().item() >= MIN_TEST_ACCURACY


def test_the_small_hubert_loads_strictly_and_by_its_name() -> None:
    loaded: Any = HubertModel.from_pretrained(SMALL_HUBERT_DIR, dtype=torch.float32, output_loading_info=True)
    model, info = loaded
    assert not any(info.values()), info
    assert trace("small_hubert").cost().params == model.num_parameters() <= 5_000_000
    with torch.no_grad():
        found = model(torch.randn(1, SAMPLE_RATE_HZ)).last_hidden_state
    assert found.shape[1] == 48  # 50 frames a second, less the field of the first
    assert bool(found.isfinite().all())


def test_the_card_of_the_small_hubert_names_its_data_and_licences() -> None:
    text = (SMALL_HUBERT_DIR / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in text
    for corpus in ("Arabic", "AN4", "SpeechOcean"):
        assert corpus.lower() in text.lower()
