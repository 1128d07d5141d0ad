"""A first try of saved models on files: the commands agree with the model and with transformers.pipeline."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import pipeline

import prune_ssl
from prune_ssl.data import Clip, SpeechFolder
from prune_ssl.tasks import Classification, Joint, Recognition, Slots, Task, Verification
from tests.support.cli import status_and_output
from tests.support.models import EXTRACTOR, tiny_model


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.wav" for name in "ab"]
    for path, hz in zip(paths, (200, 3_000), strict=True):
        wave = np.sin(2 * np.pi * hz * np.arange(24_000) / 16_000) + 0.1 * generator.standard_normal(24_000)
        soundfile.write(path, 0.3 * wave, 16_000, subtype="FLOAT")
    return paths


def save_pruned(task: Task, head: str, folder: Path) -> torch.nn.Module:
    """A pruned wav2vec 2.0 model with the task's head, in a folder."""
    model = task.with_head(tiny_model("wav2vec2", head))
    graph = prune_ssl.trace(model)
    small = prune_ssl.resize(model, graph, prune_ssl.select(model, graph, "macs=60%", round_to=1)).eval()
    prune_ssl.save_pretrained(small, folder, processor=task.processor(EXTRACTOR))
    return small


def outputs_of(model: torch.nn.Module, path: Path) -> object:
    samples, _ = soundfile.read(path, dtype="float32")
    with torch.no_grad():
        return model(**EXTRACTOR(samples, sampling_rate=16_000, return_tensors="pt"))


def recognition() -> Recognition:
    clip = Clip(Path("x.wav"), "SOME WORDS", 1.0)
    return Recognition.from_folder(SpeechFolder(Path("x"), {"train": (clip,)}, ()))


def test_transcribe_prints_what_the_model_says(tmp_path: Path, files: list[Path]) -> None:
    task = recognition()
    small = save_pruned(task, "ForCTC", tmp_path / "model")
    texts = [task.decode(outputs_of(small, path).logits.argmax(-1)[0].numpy()) for path in files]
    assert all(texts)
    code, output = status_and_output("transcribe", tmp_path / "model", *files)
    assert code == 0, output
    assert output.splitlines() == [f"{path}\t{text}" for path, text in zip(files, texts, strict=True)]


def test_long_recordings_are_transcribed_in_pieces(tmp_path: Path) -> None:
    save_pruned(recognition(), "ForCTC", tmp_path / "model")
    soundfile.write(
        tmp_path / "long.wav", 0.1 * np.random.default_rng(0).standard_normal(50 * 16_000), 16_000
    )
    code, output = status_and_output("transcribe", tmp_path / "model", tmp_path / "long.wav")
    assert code == 0, output
    assert len(output) > len(str(tmp_path)) + 50


def test_classify_prints_what_the_model_says(tmp_path: Path, files: list[Path]) -> None:
    small = save_pruned(
        Classification(("no", "yes", "maybe")), "ForSequenceClassification", tmp_path / "model"
    )
    code, output = status_and_output("classify", tmp_path / "model", *files, "--best", 2)
    assert code == 0, output
    classifier = pipeline("audio-classification", model=str(tmp_path / "model"))
    for path, line in zip(files, output.splitlines(), strict=True):
        shares = outputs_of(small, path).logits.softmax(-1)[0]
        best = shares.topk(2)
        labels = [small.config.id2label[int(index)] for index in best.indices]
        wanted = [f"{label} {100 * share:.1f}%" for label, share in zip(labels, best.values, strict=True)]
        assert line.split("\t") == [str(path), *wanted]
        samples, _ = soundfile.read(path, dtype="float32")
        assert [entry["label"] for entry in classifier(samples, top_k=2)] == labels


@pytest.mark.parametrize("joint", [False, True])
def test_classify_prints_the_best_of_each_slot(tmp_path: Path, files: list[Path], joint: bool) -> None:
    labels = ("size=big", "size=none", "size=small", "milk=none", "milk=oat", "speaker=ann", "speaker=bob")
    task, head = (Joint(labels), "ForXVector") if joint else (Slots(labels), "ForSequenceClassification")
    small = save_pruned(task, head, tmp_path / "model")
    code, output = status_and_output("classify", tmp_path / "model", *files, "--best", 2)
    assert code == 0, output
    segments = {name: part for name, part in task.segments.items() if not joint or name != "speaker"}
    for path, line in zip(files, output.splitlines(), strict=True):
        wanted = []
        for part in segments.values():
            shares, indices = outputs_of(small, path).logits[0, part].softmax(-1).sort(descending=True)
            names = [labels[part.start + int(index)] for index in indices[:2]]
            wanted += [f"{name} {100 * share:.1f}%" for name, share in zip(names, shares, strict=False)]
        assert line.split("\t") == [str(path), *wanted]


def test_a_file_that_is_too_short_for_an_embedding_is_refused(tmp_path: Path, files: list[Path]) -> None:
    save_pruned(Verification(("a", "b")), "ForXVector", tmp_path / "model")
    samples, _ = soundfile.read(files[0], dtype="float32")
    soundfile.write(tmp_path / "short.wav", samples[:4_000], 16_000)
    for given in ((tmp_path / "short.wav", files[0]), (files[0], tmp_path / "short.wav")):
        code, output = status_and_output("verify", tmp_path / "model", *given)
        assert code == 2
        words = " ".join(output.split())
        assert "short.wav: too short (12 frames, the x-vector head needs 16): give a longer" in words


def test_verify_prints_the_cosine(tmp_path: Path, files: list[Path]) -> None:
    small = save_pruned(Verification(("a", "b")), "ForXVector", tmp_path / "model")
    one, other = (outputs_of(small, path).embeddings[0] for path in files)
    cosine = float(torch.nn.functional.cosine_similarity(one, other, dim=0))
    assert cosine < 1 - 1e-5
    code, output = status_and_output(
        "verify", tmp_path / "model", files[0], *files, "--threshold", (1 + cosine) / 2
    )
    assert code == 0, output
    same, different = output.splitlines()
    assert same == f"{files[0]}\t1.000\tsame"
    assert different == f"{files[1]}\t{cosine:.3f}\tdifferent"


def test_a_model_for_another_task_is_refused(tmp_path: Path, files: list[Path]) -> None:
    save_pruned(Classification(("no", "yes")), "ForSequenceClassification", tmp_path / "model")
    for command, words in (("transcribe", "transcribes"), ("verify", "makes speaker embeddings")):
        more = [files[0]] if command == "verify" else []
        code, output = status_and_output(command, tmp_path / "model", *more, files[0])
        assert code == 2
        assert f"is a PrunedWav2Vec2ForSequenceClassification: wanted a model that {words}" in output
    code, output = status_and_output("classify", tmp_path / "model", tmp_path / "gone.wav")
    assert code == 2
    assert "gone.wav: no such file" in output
