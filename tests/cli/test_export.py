"""The command `export` says what it wrote and how near it comes, and refuses without a trace."""

from pathlib import Path

import pytest

import prune_ssl
from prune_ssl.cli.export import next_step
from prune_ssl.errors import ExportError
from prune_ssl.exporting.comparing import Difference
from prune_ssl.exporting.exports import Exported
from tests.support.cli import run_cli
from tests.support.models import tiny_model


def test_it_says_what_was_written_and_how_near_it_comes(tmp_path: Path, monkeypatch) -> None:
    asked = []

    def export(*arguments: object, **more: object) -> Exported:
        asked.append((arguments, more))
        return Exported(
            target="pt2",
            folder=tmp_path,
            file=tmp_path / "model.pt2",
            size_bytes=1_234_567,
            difference=Difference(3.2e-6, 1.5e-7),
            notes=("it takes no mask",),
        )

    monkeypatch.setattr("prune_ssl.pipeline.shipping.export", export)
    result = run_cli("export", "model", tmp_path / "out", "--to", "pt2", "--overwrite")
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "1.2 MB" in said
    assert "3.2e-06 of the largest output" in said
    assert "1.5e-07" in said
    assert "note: it takes no mask" in said
    assert asked == [(("model", tmp_path / "out", "pt2"), {"overwrite": True, "data": None})]


def test_a_refusal_is_one_line(tmp_path: Path, monkeypatch) -> None:
    def export(*arguments: object, **more: object) -> Exported:
        raise ExportError("this cannot be")

    monkeypatch.setattr("prune_ssl.pipeline.shipping.export", export)
    result = run_cli("export", "model", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (2, "error: this cannot be\n")


@pytest.mark.parametrize("target", ["sherpa-onnx", "onnx-asr"])
def test_a_model_that_does_not_transcribe_is_refused_for_speech_runtimes(tmp_path: Path, target: str) -> None:
    folder = prune_ssl.save_pretrained(tiny_model(), tmp_path / "model")
    result = run_cli("export", folder, tmp_path / "out", "--to", target)
    assert result.exit_code == 2
    assert "does not transcribe" in result.stderr or "not installed" in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_export_ends_with_what_to_do_next(tmp_path):
    assert "export.json" in next_step("onnx", tmp_path)
    assert "waveform_ctc.load().recognize(" in next_step("onnx-asr", tmp_path)
    (tmp_path / "export.json").write_text("{}")
    result = run_cli("transcribe", tmp_path, "clip.wav")
    assert result.exit_code == 2
    assert "it is an export" in " ".join(result.output.split())
