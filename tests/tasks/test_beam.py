"""Beam search with a language model: it changes what is written, its weight matters, and clear refusals."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from transformers import EvalPrediction

import prune_ssl
from prune_ssl.errors import DataError, PruneError, RecipeError
from prune_ssl.pipeline import run
from prune_ssl.recipes.schema import make_recipe
from prune_ssl.recipes.smoke import smoke_version
from prune_ssl.tasks import BeamDecoder, BeamSettings, Phonemes, Recognition, TaskSettings, inference
from prune_ssl.tasks.frames import frame_counts
from tests.support.cli import status_and_output
from tests.support.models import EXTRACTOR, tiny_model
from tests.support.ngrams import WORDS, arpa_text
from tests.support.paths import RECIPES
from tests.support.texts import clips_of, folder_of

TRAIN = ("ONE TWO", "TOO")


@pytest.fixture
def needs_flashlight() -> None:
    pytest.importorskip("flashlight.lib.text.decoder")


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.arpa"
    path.write_text(arpa_text())
    return path


def task_with(path: Path, **more: float) -> Recognition:
    settings = TaskSettings(decoding=BeamSettings(lm=path, **more))
    return Recognition.from_folder(folder_of(*TRAIN), settings=settings)


def spoken(task: Recognition, text: str, doubts: dict[int, str] | None = None) -> np.ndarray:
    """Logits (T, V) that say `text`, a blank after each letter; some letters are nearly another."""
    letters = task.encode(text)
    logits = np.zeros((2 * len(letters) + 1, len(task.tokenizer)), dtype=np.float32)
    logits[1::2, task.tokenizer.pad_token_id] = 8
    logits[-1, task.tokenizer.pad_token_id] = 8
    for place, letter in enumerate(letters):
        logits[2 * place, letter] = 8
    for place, other in (doubts or {}).items():
        logits[2 * place, task.tokenizer.convert_tokens_to_ids(other)] = 7.5
    return logits


@pytest.mark.usefixtures("needs_flashlight")
def test_the_language_model_settles_what_the_audio_leaves_open(arpa: Path) -> None:
    task = task_with(arpa)
    assert task.beam is not None
    unsure = spoken(task, "ONE TWO", {5: "O"})  # W, or the first O of TOO
    assert task.decode(unsure.argmax(-1)) == "ONE TWO"
    assert task.beam.decode(unsure) == "ONE TOO"
    assert task.beam.decode(spoken(task, "ONE TWO")) == "ONE TWO", "clear audio is not overruled"
    unweighted = task_with(arpa, lm_weight=0.0).beam
    assert unweighted is not None
    assert unweighted.decode(unsure) == "ONE TWO"


@pytest.mark.usefixtures("needs_flashlight")
def test_only_words_of_the_model_are_written_and_silence_is_nothing(arpa: Path) -> None:
    beam = task_with(arpa).beam
    assert beam is not None
    task = task_with(arpa)
    silence = np.zeros((6, len(task.tokenizer)), dtype=np.float32)
    silence[:, task.tokenizer.pad_token_id] = 8
    assert beam.decode(silence) == ""
    misspelt = spoken(task, "OWE")
    assert task.decode(misspelt.argmax(-1)) == "OWE"
    assert set(beam.decode(misspelt).split()) <= set(WORDS)


@pytest.mark.usefixtures("needs_flashlight")
def test_a_gzipped_model_in_another_case_is_read(tmp_path: Path) -> None:
    text = arpa_text()
    for word in WORDS:
        text = text.replace(word, word.lower())
    path = tmp_path / "lower.arpa.gz"
    with gzip.open(path, "wt") as file:
        file.write(text)
    task = task_with(path)
    assert task.beam is not None
    assert task.beam.words == set(WORDS)
    assert task.beam.decode(spoken(task, "ONE TWO", {5: "O"})) == "ONE TOO"


@pytest.mark.usefixtures("needs_flashlight")
def test_both_ways_are_judged(arpa: Path) -> None:
    clips, model = clips_of("ONE TOO", "TOO"), tiny_model(head="ForCTC")
    task = task_with(arpa)
    heard = [spoken(task, "ONE TWO", {5: "O"}), spoken(task, "TOO")]
    frames = frame_counts(clips, model)
    logits = np.full((2, max(frames) + 3, len(task.tokenizer)), -100.0, dtype=np.float32)  # as Trainer pads
    for row, count, given in zip(logits, frames, heard, strict=True):
        row[:count] = 0
        row[:count, task.tokenizer.pad_token_id] = 8
        row[: len(given)] = given
    slim = task.slim((torch.from_numpy(logits), None), None)
    judged = task.judge(clips, model)(EvalPrediction(slim.numpy(), None))
    assert (judged["wer"], judged["wer_lm"]) == (1 / 3, 0.0)
    assert (judged["cer"], judged["cer_lm"]) == (1 / 10, 0.0)
    assert judged["wer_lm_low"] == judged["wer_lm_high"] == 0.0
    assert judged["wer_high"] == 1 / 2
    greedy = Recognition.from_folder(folder_of(*TRAIN))
    alone = greedy.judge(clips, model)(
        EvalPrediction(greedy.slim(torch.from_numpy(logits), None).numpy(), None)
    )
    assert alone == {name: value for name, value in judged.items() if "_lm" not in name}


@pytest.mark.usefixtures("needs_flashlight")
def test_what_the_model_cannot_write_is_said(tmp_path: Path) -> None:
    path = tmp_path / "few.arpa"
    path.write_text(arpa_text(("ONE", "TOO", "SIX"), (("-0.1", "ONE TOO"),)))
    task = task_with(path)
    notes = list(task.check(folder_of(*TRAIN), tiny_model(head="ForCTC")))
    assert any(note.startswith("1 words of the language model have no spelling") for note in notes)
    assert any(note.startswith("1 of 3 words of train are not in the language model") for note in notes)


@pytest.mark.usefixtures("needs_flashlight")
def test_files_that_are_no_language_model_are_refused(tmp_path: Path) -> None:
    tokenizer = Recognition.from_folder(folder_of(*TRAIN)).tokenizer

    def refused(name: str, content: bytes | str, message: str) -> None:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(DataError, match=message):
            BeamDecoder.make(BeamSettings(lm=path), tokenizer)

    with pytest.raises(DataError, match=r"gone\.arpa: no such file"):
        BeamDecoder.make(BeamSettings(lm=tmp_path / "gone.arpa"), tokenizer)
    refused("empty.arpa", "", r"no words under \\1-grams")
    refused("lm.bin", b"mmap lm \xff\xfe\x00\x80", "not ARPA text in UTF-8")
    refused("cut.arpa.gz", gzip.compress(arpa_text().encode())[:40], "not ARPA text")
    lost = arpa_text().replace("-0.1\tONE TOO\n", "")
    refused("lost.arpa", lost, "broken: KenLM does not read it as ARPA")
    foreign = arpa_text(("ОДИН", "ДВА"), ())
    refused("foreign.arpa", foreign, "none of its 2 words .* can be spelled with the tokenizer's tokens")
    with pytest.raises(DataError, match="beam: found 0, wanted 1 or more"):
        BeamSettings(lm=tmp_path / "x.arpa", beam=0)
    with pytest.raises(DataError, match="no token for the space between words"):
        BeamDecoder.make(BeamSettings(lm=tmp_path / "lost.arpa"), Phonemes.make_tokenizer(["a b"]))


def test_without_the_extra_the_error_says_what_to_install(
    arpa: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("torchaudio.models.decoder")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flashlight", None)
    monkeypatch.setitem(sys.modules, "flashlight.lib.text.decoder", None)
    with pytest.raises(PruneError, match=r"pip install 'prune_ssl\[lm\]'"):
        task_with(arpa)


@pytest.mark.usefixtures("needs_flashlight")
def test_transcribe_with_a_language_model(tmp_path: Path, arpa: Path) -> None:
    task = task_with(arpa, lm_weight=1.5)
    model = task.head.put_on(tiny_model("wav2vec2", "ForCTC"))
    prune_ssl.save_pretrained(model, tmp_path / "model", processor=task.processor(EXTRACTOR))
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(24_000), 16_000, subtype="FLOAT")
    samples, _ = soundfile.read(path, dtype="float32")
    with torch.no_grad():
        logits = model(**EXTRACTOR(samples, sampling_rate=16_000, return_tensors="pt")).logits[0].numpy()
    assert task.beam is not None
    wanted = task.beam.decode(logits)
    code, output = status_and_output("transcribe", tmp_path / "model", path, "--lm", arpa, "--lm-weight", 1.5)
    assert code == 0, output
    assert output.splitlines()[-1] == f"{path}\t{wanted}"
    assert wanted
    code, output = status_and_output("transcribe", tmp_path / "model", path, "--lm", tmp_path / "gone.arpa")
    assert code == 2
    assert "no such file" in output


def test_pieces_of_a_long_recording_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("wav2vec2", "ForCTC", num_hidden_layers=0, feat_extract_norm="layer", norm="layer")
    model.wav2vec2.encoder.pos_conv_embed = torch.nn.Identity()  # then a frame sees its own samples only
    extractor = type(EXTRACTOR)(do_normalize=False)
    samples = np.random.default_rng(0).standard_normal(5 * 16_000 + 77).astype(np.float32)
    whole = inference._logits(model, extractor, samples)
    monkeypatch.setattr(inference, "CHUNK_SECONDS", 1.2)
    pieces = inference._logits(model, extractor, samples)
    assert whole.shape == pieces.shape
    assert np.abs(whole - pieces).max() < 1e-4 * np.abs(whole).max()


@pytest.mark.slow
@pytest.mark.usefixtures("needs_flashlight")
def test_a_recipe_reports_both(tmp_path: Path) -> None:
    words = Path(prune_ssl.__file__).parent / "assets" / "words"
    labels = sorted(
        {row.split(",")[1] for row in (words / "train/metadata.csv").read_text().splitlines()[1:]}
    )
    arpa = tmp_path / "words.arpa"
    arpa.write_text(arpa_text(tuple(labels), (("-1", f"{labels[0]} {labels[1]}"),)))
    recipe = yaml.safe_load((RECIPES / "asr_an4_hj_mac.yaml").read_text())
    smoke = {"smoke": True, "output": str(tmp_path / "out")}
    plain = make_recipe(recipe | smoke | {"decoding": {"lm": str(arpa), "beam": 4}})
    whole = smoke_version(plain).model_copy(update={"smoke": False, "decoding": plain.decoding})
    outcome = run(whole, say=lambda line: None)
    found = outcome.report.data.results["recovered"]
    assert {"wer", "wer_lm", "wer_lm_low", "wer_lm_high", "cer_lm"} <= set(found)
    assert r"wer\_lm" in (tmp_path / "out" / "report.md").read_text()
    with pytest.raises(RecipeError, match="`decoding` is for task ctc, found task classification"):
        make_recipe(recipe | {"task": "classification", "decoding": {"lm": "x.arpa"}})
    with pytest.raises(RecipeError, match=r"unknown key 'decoding\.beams'; did you mean 'beam'"):
        make_recipe(recipe | {"decoding": {"lm": "x.arpa", "beams": 3}})
