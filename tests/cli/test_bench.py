"""prune-ssl bench."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from prune_ssl.cli.app import app
from tests.support.models import tiny_model


@pytest.mark.usefixtures("few_calls")
def test_weights_in_a_pickle_are_measured_when_the_user_allows_it(tmp_path: Path) -> None:
    model, folder = tiny_model(), tmp_path / "old"
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    command = ["bench", str(folder), "--seconds", "0.1"]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2
    assert "--allow-pickle" in refused.output
    measured = CliRunner().invoke(app, [*command, "--allow-pickle", "--save", str(tmp_path / "rows.json")])
    assert measured.exit_code == 0, measured.output
    assert (tmp_path / "rows.json").is_file()
