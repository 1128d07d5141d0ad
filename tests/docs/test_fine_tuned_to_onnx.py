"""The README's path for a fine-tuned model: install, one command to prune it, one command to its ONNX file.

The two commands are the README's own lines. Only the names of the model, the corpus and the folders are
filled in, and the run is made short. tests/packaging tests the install.
"""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from prune_ssl import load_pretrained, trace
from prune_ssl.assets import DEMO_MODEL_DIR
from tests.support.cli import run_cli
from tests.support.exporting import needs_onnx
from tests.support.paths import ROOT, WORDS

CLIPS = {"train": 24, "validation": 12, "test": 24}
SHORT = ["pruning.steps=4", "batch_size=8", "pruning.budget=macs=80%", "report.seconds=[0.5]"]
SHORT += ["report.iterations=3", "report.min_seconds=0"]


def command_of(row: str) -> list[str]:
    """The words after `prune-ssl` in the README's table of what to run."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(rf"^\| {row} \| `prune-ssl ([^`]+)`", text, re.MULTILINE)
    return shlex.split(command)


def few_words(place: Path) -> Path:
    for split, count in CLIPS.items():
        (place / split).mkdir(parents=True)
        header, *rows = csv.reader((WORDS / split / "metadata.csv").read_text().splitlines())
        chosen = rows[:count]
        for name, *_ in chosen:
            shutil.copy(WORDS / split / name, place / split)
        with (place / split / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *chosen])
    return place


def filled(command: list[str], names: dict[str, str]) -> list[str]:
    found = [re.sub("|".join(names), lambda match: names[match[0]], word) for word in command]
    assert found != command
    return found


@needs_onnx
@pytest.mark.slow
def test_two_commands_after_the_install_end_in_an_onnx_file_that_was_judged(tmp_path):
    assert "pip install" in (ROOT / "README.md").read_text(encoding="utf-8")
    corpus = few_words(tmp_path / "corpus")
    prune = filled(
        command_of("a fine-tuned classifier and its corpus"),
        {"MODEL": str(DEMO_MODEL_DIR), "CORPUS": str(corpus)},
    )
    made = run_cli(*prune, *SHORT, f"output={tmp_path}/run")
    assert made.exit_code == 0, made.output
    model, onnx = tmp_path / "run/model", tmp_path / "onnx"
    export = filled(
        command_of("a pruned model to ship"),
        {"MODEL": str(model), "OUT": str(onnx), "CORPUS": str(corpus)},
    )
    shipped = run_cli(*export)
    assert shipped.exit_code == 0, shipped.output
    said = json.loads((onnx / "export.json").read_text())
    assert said["labels"] == list(load_pretrained(DEMO_MODEL_DIR).config.id2label.values())
    assert said["judged"]
    whole, small = (trace(load_pretrained(each)).cost(seconds=1.0).macs for each in (DEMO_MODEL_DIR, model))
    assert 0.7 * whole < small <= 0.8 * whole
