"""The command `doctor`: what it says of a machine and of a corpus, and its exit codes."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from prune_ssl.cli import doctor
from prune_ssl.cli.app import app
from prune_ssl.cli.doctor import _mismatch
from tests.support.cli import run_cli, status_and_output
from tests.support.layouts import manifests, odd_corpus
from tests.support.lists import clip


def test_findings_about_names_that_are_not_in_utf8_are_printed(corpus: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    for word in (name, "yes"):
        for number in range(2):
            clip(corpus.parent / "words" / word / f"x_nohash_{number}.wav", 9 + number)
    root = corpus.parent / "words"
    (root / "validation_list.txt").write_text("yes/x_nohash_1.wav\n")
    (root / "testing_list.txt").write_text("")
    soundfile.write(os.fsencode(root / name / "x_nohash_0.wav"), np.zeros(500), 16_000, format="WAV")
    code, output = status_and_output("doctor", "data", root)
    assert (code, "caf\\udce9" in output) == (1, True), output
    code, output = status_and_output("doctor", "data", root / name)
    assert (code, "caf\\udce9" in output) == (2, True), output


def test_the_doctor_lists_and_exits_with_one(tmp_path: Path) -> None:
    odd_corpus(tmp_path)
    result = CliRunner().invoke(
        app, ["doctor", "data", str(tmp_path), "--max-seconds", "1.2", "--listed", "1"]
    )
    assert result.exit_code == 1
    assert "train: 8 clips" in result.output
    assert "broken: 2" in result.output
    assert "... and 1 more" in result.output
    assert "the same audio as" in result.output
    sound = tmp_path / "sound"
    manifests(sound)
    result = CliRunner().invoke(app, ["doctor", "data", str(sound)])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(app, ["doctor", "data", str(tmp_path / "nowhere")])
    assert result.exit_code == 2
    assert "no such folder" in result.output


def test_the_doctor_says_what_a_corpus_can_feed(corpus: Path) -> None:
    said = run_cli("doctor", "data", corpus).stdout
    assert "sample rates: 8000 Hz, 16000 Hz" in said
    assert "column label: 2 different: low (4), high (4)" in said
    assert "it can feed: classification, representation" in said
    table = corpus / "train" / "metadata.csv"
    table.write_text(table.read_text().replace("label", "Sentence"))
    assert "its characters: ghilow" in run_cli("doctor", "data", corpus).stdout


class Hub:
    """A session that answers, or fails as given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def head(self, url: str, timeout: float) -> None:
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("offline", "error", "words"),
    [
        (True, None, "HF_HUB_OFFLINE"),
        (False, None, "reached, "),
        (False, OSError("no"), "not reached (OSError)"),
    ],
)
def test_doctor_shows_the_machine_and_whether_the_hub_answers(monkeypatch, offline, error, words):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("huggingface_hub.get_session", lambda: Hub(error))
    said = run_cli("doctor").stdout
    for word in ("python", "cores", "accelerator", "free disk", "extra onnx", words):
        assert word in said


def test_doctor_names_the_command_for_an_extra_that_is_missing(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "openvino" else known(name))
    result = run_cli("doctor")
    assert result.exit_code == 0  # an extra is no problem
    assert "pip install 'prune_ssl[openvino]'" in result.stdout


def test_doctor_is_content_and_names_a_torch_mismatch(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert run_cli("doctor").exit_code == 0
    assert _mismatch("2.11.0+cu130", "2.11.0") == []
    (problem,) = _mismatch("2.13.0+cpu", "2.11.0")
    assert 'pip install "torch==2.11.*" "torchaudio==2.11.*"' in problem
