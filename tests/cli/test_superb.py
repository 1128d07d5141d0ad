"""The commands `superb probe` and `superb score`."""

import importlib
import json
from pathlib import Path

from typer.testing import CliRunner

import prune_ssl
from prune_ssl.cli.app import app
from prune_ssl.distillation import Projections, save_projections
from tests.support.models import tiny_model
from tests.support.probing import EXTRACTOR, ORDER, PUBLISHED, write_corpus

# The package's `probe` is the function.
probing = importlib.import_module("prune_ssl.probing.probes")


def test_a_probe_finds_out_first_whether_it_can_save_and_keeps_its_heads(tmp_path: Path, monkeypatch) -> None:
    data = write_corpus(tmp_path / "tones", {"train": 4, "validation": 2})
    folder = prune_ssl.save_pretrained(tiny_model("hubert"), tmp_path / "model", processor=EXTRACTOR)
    file = tmp_path / "new" / "results.json"
    command = ["superb", "probe", str(folder), "ks", str(data), "--rates", "0.01", "--rates", "0.02"]
    command += ["--steps", "2", "--save"]
    for content, message in (("{", "cannot be read as JSON"), ("[1]", "wanted a mapping of results")):
        (tmp_path / "bad.json").write_text(content)
        refused = CliRunner().invoke(app, [*command, str(tmp_path / "bad.json")])
        assert refused.exit_code == 2
        assert message in " ".join(refused.output.split())
        assert "learning rate" not in refused.output
        assert (tmp_path / "bad.json").read_text() == content
    (tmp_path / "empty.json").touch()
    assert CliRunner().invoke(app, [*command, str(tmp_path / "empty.json")]).exit_code == 0
    assert set(json.loads((tmp_path / "empty.json").read_text())) == {"ks"}
    plain, trained = probing._train, []

    def dying(*args):
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(plain(*args))
        return trained[-1]

    with monkeypatch.context() as patch:
        patch.setattr(probing, "_train", dying)
        assert CliRunner().invoke(app, [*command, str(file)]).exit_code == 130
    ((kept,),) = json.loads(file.with_name("results.json.ks-heads").read_text())
    assert (kept["learning_rate"], kept["validation"]) == (0.01, trained[0].validation)
    assert not file.exists()
    assert CliRunner().invoke(app, [*command, str(file)]).exit_code == 0
    assert [path.name for path in file.parent.iterdir()] == ["results.json"]


def test_the_commands_probe_and_score(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "tones", {"train": 4, "validation": 2})
    folder = prune_ssl.save_pretrained(tiny_model("hubert"), tmp_path / "model", processor=EXTRACTOR)
    file = tmp_path / "results.json"
    command = ["superb", "probe", str(folder), "ks", str(data), "--rates", "0.01", "--steps", "2"]
    result = CliRunner().invoke(app, [*command, "--save", str(file)])
    assert result.exit_code == 0, result.output
    assert "ks (keyword spotting): accuracy" in result.output
    assert "head: the probe trains a new one for ks" in result.output
    assert "dropped by request" not in result.output
    kept = json.loads(file.read_text())
    assert kept["ks"]["metric"] == "accuracy"
    row, _, score = PUBLISHED["HuBERT Base"]
    whole = dict(zip(ORDER, row, strict=True)) | {"ks": {"value": 96.30}}
    file.write_text(json.dumps(whole))
    result = CliRunner().invoke(app, ["superb", "score", str(file)])
    assert result.exit_code == 0, result.output
    shown = float(result.output.split("SUPERB score ")[1].split(";")[0])
    assert abs(shown - score) <= 1
    assert CliRunner().invoke(app, ["superb", "probe", str(folder), "xy", str(data)]).exit_code == 2
    absent = CliRunner().invoke(app, [*command, "--device", "cuda:99"])
    assert absent.exit_code == 2
    assert "--device: found 'cuda:99', which this machine does not have." in absent.output
    file.write_text('{"ks": 1}')
    refused = CliRunner().invoke(app, ["superb", "score", str(file)])
    assert refused.exit_code == 2
    assert "missing: asr" in refused.output


def test_the_probe_reads_projected_states_and_judges_under_noise(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "tones", {"train": 4, "validation": 2})
    folder = prune_ssl.save_pretrained(tiny_model("hubert"), tmp_path / "model", processor=EXTRACTOR)
    command = ["superb", "probe", str(folder), "ks", str(data), "--rates", "0.01", "--steps", "2"]
    command += [
        "--features",
        "projected",
        "--snr",
        "0",
        "--rt60",
        "0.3",
        "--save",
        str(tmp_path / "row.json"),
    ]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2
    assert "no such file: distil with `distillation.keep_projections: true`" in " ".join(
        refused.output.split()
    )
    save_projections(Projections("per_layer", [(1, 4), (2, 8)], 16, 24), folder)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "0 dB, RT60 0.3 s: accuracy" in result.output
    assert "the scores of the row need ic, pr, asr" in " ".join(result.output.split())
    kept = json.loads((tmp_path / "row.json").read_text())["ks"]
    assert set(kept["under"]) == {"0 dB, RT60 0.3 s"}
    assert len(kept["folds"][0][0]["layer_weights"]) == 2
    lexicon = [*command[:2], str(folder), "ks", str(data), "--lexicon", str(tmp_path / "row.json")]
    wrong = CliRunner().invoke(app, lexicon)
    assert "--lexicon: it is for pr" in " ".join(wrong.output.split())
