"""What a report compares: models of one task, at one sample rate; other differences are said first."""

import re

import pytest
from typer.testing import CliRunner

import prune_ssl
from prune_ssl.cli.app import app
from prune_ssl.errors import ModelError
from prune_ssl.reporting import Report, render, report
from prune_ssl.resizing import resize
from prune_ssl.tracing import trace
from tests.support.models import tiny_model


@pytest.mark.parametrize(
    ("small", "dense"),
    [
        (("hubert", "ForCTC"), ("hubert", "ForSequenceClassification")),
        (("wav2vec2", "ForXVector"), ("wav2vec2", "ForCTC")),
        (("hubert", "ForCTC"), ("wavlm", "ForSequenceClassification")),
    ],
)
def test_models_of_different_tasks_are_not_compared(small, dense):
    with pytest.raises(ModelError, match="solve different tasks"):
        report(tiny_model(*small), baseline=tiny_model(*dense), with_latency=False)


@pytest.mark.parametrize(
    ("small", "dense", "words"),
    [
        (("hubert", "ForCTC"), ("hubert", "Model"), "differ by a head"),
        (("hubert", "Model"), ("wavlm", "Model"), r"different families \(hubert and wavlm\)"),
    ],
)
def test_what_else_differs_is_said_first(small, dense, words, tmp_path):
    made = report(tiny_model(*small), baseline=tiny_model(*dense), with_latency=False)
    assert len(made.data.notes) == 1
    (tmp_path / "r.md").write_text(render.markdown(made.data))
    first = (tmp_path / "r.md").read_text().splitlines()[:8]
    assert any(re.search(words, line.replace("\\", "")) for line in first)
    assert Report.load(made.save(tmp_path / "r.json")).data.warnings[0] == made.data.notes[0]


def test_a_model_that_was_not_made_of_the_other_is_said_so():
    dense = tiny_model()
    small = resize(dense, trace(dense), {"layer.0.ffn": range(4)})
    assert report(small, baseline=dense, with_latency=False).data.notes == []
    (note,) = report(dense, baseline=small, with_latency=False).data.notes
    assert "units that the dense one lacks" in note


def test_folders_of_other_sample_rates_are_refused(tmp_path):
    for name, rate in (("a", 16_000), ("b", 8_000)):
        prune_ssl.save_pretrained(tiny_model(), tmp_path / name)
        (tmp_path / name / "preprocessor_config.json").write_text(f'{{"sampling_rate": {rate}}}')
    result = CliRunner().invoke(app, ["report", str(tmp_path / "a"), "--baseline", str(tmp_path / "b")])
    assert result.exit_code == 2
    assert "takes audio at 16000 Hz" in result.output
