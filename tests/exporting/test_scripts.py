"""The scripts in examples/ run as their docstrings say, and print what PyTorch computes."""

import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from prune_ssl import export
from tests.support.exporting import NORMALISED, needs_onnx, needs_openvino, pruned
from tests.support.transcribers import transcriber

EXAMPLES = Path(__file__).parents[2] / "examples"
RATE = 16_000


def run(capsys, monkeypatch, script, *arguments):
    """Return the lines that a script prints, run in this process."""
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    capsys.readouterr()  # the exporter prints too
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    return capsys.readouterr().out.splitlines()


def run_without_torch(script, *arguments):
    code = (
        "import sys, runpy\nsys.modules['torch'] = sys.modules['prune_ssl'] = None\nsys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", code, str(EXAMPLES / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three recordings of unequal length."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(3):
        noise = 0.1 * np.random.default_rng(seed).standard_normal(RATE + 3_000 * seed)
        soundfile.write(folder / f"{seed}.wav", noise, RATE, subtype="FLOAT")
    return sorted(folder.iterdir())


def heard(model, clip):
    clip = NORMALISED(clip, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        return model(**clip)


def read(clip):
    return soundfile.read(clip, dtype="float32")[0]


def test_every_script_says_how_to_run_it_and_is_listed():
    page = (EXAMPLES.parent / "docs" / "exporting.md").read_text()
    tests = Path(__file__).read_text()
    for file in sorted(EXAMPLES.glob("*.py")):
        text = file.read_text()
        assert f"python examples/{file.name} " in text.split('"""')[1]
        assert f"examples/{file.name}" in page
        assert f'"{file.name}"' in tests
        assert not re.search(r"^\s*(import|from) torch", text, re.MULTILINE)


@needs_onnx
@pytest.mark.slow
def test_keywords_are_heard_in_chunks_without_torch(tmp_path, clips):
    model = pruned("hubert", "ForSequenceClassification")
    export(model, tmp_path / "out", "onnx", processor=NORMALISED)
    lines = run_without_torch("keywords_onnx.py", tmp_path / "out", clips[2])
    assert len(lines) == -(-len(read(clips[2])) // (RATE // 4))
    heard_last = np.concatenate([np.zeros(RATE), read(clips[2]), np.zeros(RATE // 4)])
    end = RATE + len(lines) * RATE // 4
    shares = heard(model, heard_last[end - RATE : end]).logits.softmax(-1)[0]
    label = model.config.id2label[int(shares.argmax())]
    assert lines[-1].split() == [f"{len(lines) / 4:.2f}", "s", label, f"{shares.max():.2f}"]


@needs_onnx
@pytest.mark.slow
def test_speakers_are_compared_without_torch(tmp_path, clips):
    model = pruned("wav2vec2", "ForXVector")
    export(model, tmp_path / "out", "onnx", processor=NORMALISED)
    (line,) = run_without_torch("verify_onnx.py", tmp_path / "out", *clips[:2])
    pair = [heard(model, read(clip)).embeddings[0] for clip in clips[:2]]
    assert float(line.split()[1]) == pytest.approx(float(torch.cosine_similarity(*pair, dim=0)), abs=1e-4)


@needs_openvino
@pytest.mark.slow
def test_openvino_classifies(tmp_path, clips, capsys, monkeypatch):
    model = pruned("hubert", "ForSequenceClassification")
    export(model, tmp_path / "out", "openvino", processor=NORMALISED)
    lines = run(capsys, monkeypatch, "classify_openvino.py", tmp_path / "out", *clips)
    for clip, line in zip(clips, lines, strict=True):
        label = model.config.id2label[int(heard(model, read(clip)).logits.argmax())]
        assert line == f"{clip.name}: {label}"


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory):
    """A recogniser's folder, recordings, and the lines that a transcriber should print."""
    place = tmp_path_factory.mktemp("recogniser")
    source, waves, texts = transcriber(place)
    (place / "clips").mkdir()
    for number, wave in enumerate(waves):
        # Integers, since onnx-asr reads no other WAV.
        soundfile.write(place / "clips" / f"{number}.wav", wave, RATE, subtype="PCM_16")
    return source, place / "clips", [f"{number}.wav: {text}" for number, text in enumerate(texts)]


def words(lines):
    return [line.split() for line in lines]


@needs_onnx
@pytest.mark.slow
@pytest.mark.skipif(not find_spec("sherpa_onnx"), reason="sherpa-onnx is not installed")
def test_sherpa_transcribes(tmp_path, recogniser, capsys, monkeypatch):
    source, recordings, wanted = recogniser
    export(source, tmp_path / "out", "sherpa-onnx")
    found = run(capsys, monkeypatch, "transcribe_sherpa.py", tmp_path / "out", *sorted(recordings.iterdir()))
    assert words(found) == words(wanted)


@needs_onnx
@pytest.mark.slow
@pytest.mark.skipif(not find_spec("onnx_asr"), reason="onnx-asr is not installed")
def test_onnx_asr_transcribes_a_folder(tmp_path, recogniser, capsys, monkeypatch):
    source, recordings, wanted = recogniser
    export(source, tmp_path / "out", "onnx-asr")
    found = run(capsys, monkeypatch, "transcribe_folder.py", tmp_path / "out", recordings)
    sys.modules.pop("waveform_ctc")
    assert words(found) == words(wanted)


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda script: script.stem)
def test_a_script_without_arguments_says_how_to_run_it(script, capsys, monkeypatch):
    with pytest.raises(SystemExit, match=f"python examples/{script.name}"):
        run(capsys, monkeypatch, script.name)
