"""The command `import`: a folder, the cost, and refusals that write nothing."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import Wav2Vec2FeatureExtractor

import prune_ssl
from prune_ssl.errors import ModelError
from tests.support.cli import run_cli
from tests.support.models import tiny_model


def test_it_writes_a_model_and_says_its_cost_and_notes(tmp_path: Path, monkeypatch) -> None:
    model = tiny_model("hubert", "Model")
    found = SimpleNamespace(model=model, extractor=Wav2Vec2FeatureExtractor(), notes=("one thing",))
    monkeypatch.setattr("prune_ssl.importing.import_checkpoint", lambda file, family, heads: found)
    result = run_cli("import", "their.pth", tmp_path / "out", "--family", "hubert", "--seconds", "2")
    assert result.exit_code == 0, result.output
    cost = prune_ssl.trace(model).cost(seconds=2.0)
    said = " ".join(result.output.split())
    assert f"HubertModel: {cost.params:,} parameters, {cost.macs:,} MACs at 2 s" in said
    assert "note: one thing" in said
    assert type(prune_ssl.load_model(tmp_path / "out")).__name__ == "HubertModel"
    again = run_cli("import", "their.pth", tmp_path / "out")
    assert again.exit_code == 2
    assert "exists already" in again.stderr


@pytest.mark.parametrize("arguments", [("--family", "whisper"), ()])
def test_what_is_refused_writes_nothing(tmp_path: Path, monkeypatch, arguments: tuple[str, ...]) -> None:
    def refuse(file: Path, family: str | None, heads: int | None) -> None:
        raise ModelError(f"{file}: no checkpoint")

    monkeypatch.setattr("prune_ssl.importing.import_checkpoint", refuse)
    result = run_cli("import", "their.pth", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --family" if arguments else "error: their.pth: no checkpoint")
    assert not (tmp_path / "out").exists()
