"""Exports that a corpus judges: figures beside PyTorch's, rows in reports and cards, and refusals."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor

import prune_ssl
from prune_ssl import ExportData, Timing
from prune_ssl.errors import DataError, ExportError
from prune_ssl.exporting import TARGETS
from prune_ssl.exporting.judged import Made
from prune_ssl.pipeline import shipping
from prune_ssl.pipeline.judging import prepare_judging
from prune_ssl.pipeline.one_by_one import judge_outputs, judge_texts
from prune_ssl.pipeline.shipping import CorpusJudge
from prune_ssl.runtimes.sessions import OPENERS
from prune_ssl.tasks.ctc import Recognition
from prune_ssl.tasks.tokenizers import character_tokenizer
from tests.support.cli import run_cli
from tests.support.models import tiny_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TorchScript, the quickest target
QUICK = Timing(seconds=0.2, threads=1, min_iterations=2, min_seconds=0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(shipping, "TIMED", QUICK)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A classifier in a run's folder, with its report and a card."""
    labels = {"num_labels": 2, "id2label": {0: "high", 1: "low"}}
    model = tiny_model("hubert", "ForSequenceClassification", **labels)
    made = prune_ssl.save_pretrained(model, tmp_path / "run/model", processor=Wav2Vec2FeatureExtractor())
    written = prune_ssl.report(made, with_latency=False)
    for path in (made / "report.json", *(made.parent / f"report.{kind}" for kind in ("md", "html", "json"))):
        written.save(path)
    (made / "README.md").write_text("# Mine\n\nmy words\n\n## Load\n\ncode\n")
    return made


def all_of(corpus: Path, label: str) -> None:
    path = corpus / "test/metadata.csv"
    names = [line.split(",")[0] for line in path.read_text().splitlines()[1:]]
    path.write_text("\n".join(["file_name,label", *(f"{name},{label}" for name in names)]) + "\n")


def test_a_file_has_the_metric_of_pytorch_and_its_row_stands_in_reports_and_card(folder, corpus, tmp_path):
    data = ExportData(corpus=corpus, timing=QUICK)
    made = prune_ssl.export(folder, tmp_path / "out", "torchscript", data=data)
    judged = made.judged
    assert judged.results == judged.pytorch
    assert (judged.metric, judged.clips, judged.difference) == ("accuracy", 4, 0.0)
    assert (judged.paired.difference, judged.paired.low, judged.paired.high) == (0, 0, 0)
    assert judged.latency.n == judged.pytorch_latency.n == 2
    said = json.loads((tmp_path / "out/export.json").read_text())["judged"]
    assert (said["corpus"], said["split"], said["results"]) == ("corpus", "test", dict(judged.results))
    again = prune_ssl.export(
        folder, tmp_path / "out", "torchscript", overwrite=True, data=replace(data, split="validation")
    )
    for path in (folder / "report.json", folder.parent / "report.json"):
        (row,) = prune_ssl.Report.load(path).data.exports  # the second export has replaced the first
        assert (row.target, row.split, row.value) == (
            "torchscript",
            "validation",
            again.judged.results["accuracy"],
        )
        assert (row.size_bytes, row.difference) == (again.size_bytes, 0)
    card = (folder / "README.md").read_text()
    assert card.count("## Exports") == 1
    assert card.index("my words") < card.index("torchscript") < card.index("## Load")
    assert "4 validation clips of corpus" in card
    for kind in ("md", "html"):
        assert "torchscript" in (folder.parent / f"report.{kind}").read_text()


def test_a_file_that_loses_more_than_allowed_is_not_kept(folder, corpus, tmp_path, monkeypatch):
    judging = prepare_judging(folder, corpus)
    with torch.no_grad():
        likeliest = judging.model(torch.zeros(1, 4_000)).logits.argmax().item()
        judging.model.classifier.bias[likeliest] += 9  # the same answer to all clips
    label = judging.model.config.id2label[likeliest]
    all_of(corpus, label)
    real = OPENERS["torchscript"]
    wrong = lambda path, threads=1: lambda feeds: (-real(path)(feeds)[0],)  # noqa: E731
    monkeypatch.setattr(shipping, "OPENERS", {"torchscript": wrong})
    for most in (99.0, 100.0):
        data = ExportData(corpus=corpus, max_drop=most, timing=QUICK)
        if most == 100:
            made = prune_ssl.export(judging.model, tmp_path / "out", "torchscript", data=data)
            assert made.judged.difference == -1
            continue
        words = r"accuracy 0.0% on 4 test clips of corpus, PyTorch 100.0% \(-100.0 points, 95% interval "
        with pytest.raises(ExportError, match=words + r".* more than 99 points, so nothing was kept"):
            prune_ssl.export(judging.model, tmp_path / "out", "torchscript", data=data)
        assert not (tmp_path / "out").exists()


def test_a_corpus_or_options_that_do_not_fit_are_one_line_and_nothing_is_written(folder, corpus, tmp_path):
    def refused(*more: object) -> str:
        result = run_cli("export", folder, tmp_path / "out", "--to", "torchscript", *more)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert not (tmp_path / "out").exists()
        return result.stderr

    assert "--split, --max-drop: found no corpus to judge the file on" in refused(
        "--split", "test", "--max-drop", 1
    )
    assert "--split: found 'dev'" in refused("--data", corpus, "--split", "dev")
    assert "no column 'text'" in refused("--data", corpus, "--target", "text")
    all_of(corpus, "loud")
    assert "'loud' is not one of 'high', 'low'" in refused("--data", corpus)
    (corpus / "test/metadata.csv").unlink()
    assert "test" in refused("--data", tmp_path / "nowhere")


def test_verification_needs_embeddings(corpus, tmp_path):
    model = tiny_model("wav2vec2", "ForXVector", tdnn_kernel=[1] * 5, tdnn_dilation=[1] * 5)
    folder = prune_ssl.save_pretrained(model, tmp_path / "model", processor=Wav2Vec2FeatureExtractor())
    data = ExportData(corpus=corpus, timing=QUICK, judging=prune_ssl.JudgingConfig(target="label"))
    with pytest.raises(ExportError, match="torchscript: the graph gives no embeddings"):
        prune_ssl.export(folder, tmp_path / "out", "torchscript", data=data)


def test_texts_of_a_runtime_are_judged_as_those_of_the_model(corpus, tmp_path):
    path = corpus / "test/metadata.csv"
    for other in ("train", "validation"):
        shutil.rmtree(corpus / other)
    path.write_text("file_name,text\n0.wav,no\n1.wav,on\n2.wav,no on\n3.wav,n\n")
    tokenizer = character_tokenizer(["no on"])
    model = tiny_model("hubert", "ForCTC", vocab_size=len(tokenizer), pad_token_id=0)
    folder = prune_ssl.save_pretrained(model, tmp_path / "model", processor=Wav2Vec2FeatureExtractor())
    tokenizer.save_pretrained(folder)
    judging = prepare_judging(folder, corpus)
    assert isinstance(judging.task, Recognition)
    of_outputs = judge_outputs(judging, shipping.in_pytorch(judging.model))
    extract, texts = judging.extractor, []
    for clip in judging.clips:
        with torch.no_grad():
            values = extract(clip.waveform(), sampling_rate=16_000, return_tensors="pt").input_values
            texts.append(judging.task.decode(judging.model(values).logits[0].argmax(-1).numpy()))
    given = iter(texts)
    of_texts = judge_texts(judging, lambda samples: f" {next(given)} ")
    assert of_texts.outcomes == of_outputs.outcomes
    assert of_texts.metrics["wer"] == of_outputs.metrics["wer"] > 0
    given = iter([clip.target for clip in judging.clips])
    assert judge_texts(judging, lambda samples: next(given)).metrics["wer"] == 0


def test_settings_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ExportError, match="max_drop: found -1, wanted 0 or more points"):
        ExportData(corpus=tmp_path, max_drop=-1.0)
    with pytest.raises(ExportError, match="wanted one audio length and one thread count"):
        ExportData(corpus=tmp_path, timing=Timing())
    labels = {"num_labels": 2, "id2label": {0: "high", 1: "low"}}
    model = tiny_model("hubert", "ForSequenceClassification", **labels)
    folder = prune_ssl.save_pretrained(model, tmp_path / "model", processor=Wav2Vec2FeatureExtractor())
    with pytest.raises(DataError):
        prune_ssl.export(folder, tmp_path / "out", "torchscript", data=tmp_path / "no corpus")


def test_the_better_of_two_files_is_chosen_on_validation_clips_and_training_clips_calibrate(
    folder, corpus, monkeypatch
):
    judge = CorpusJudge(folder, ExportData(corpus=corpus))
    made = Made(TARGETS["onnx-int8"], corpus, corpus / "x.onnx", judge.judging.model, False)
    fed = list(judge.calibration(made))
    assert len(fed) == 8
    assert all(set(each) == {"input_values"} and each["input_values"].shape == (1, 4_000) for each in fed)
    assert judge.int8 == "best"
    answers = {"dynamic": [9.0, 0.0], "static": [0.0, 9.0]}  # "high" always, "low" always

    def opened(path, threads=1):
        return lambda feeds: (np.array([answers[path.stem]], dtype=np.float32),)

    monkeypatch.setattr(shipping, "OPENERS", {"onnx": opened})
    files = {name: corpus / f"{name}.onnx" for name in answers}
    assert judge.better(made, files) == (
        "dynamic",
        "dynamic accuracy 50.0%, static accuracy 50.0% on 4 validation clips",
    )
    all_of(corpus, "low")
    shutil.rmtree(corpus / "validation")
    judge = CorpusJudge(folder, ExportData(corpus=corpus))
    assert judge.better(made, files) == (
        "static",
        "dynamic accuracy 0.0%, static accuracy 100.0% on 4 test clips",
    )
    with pytest.raises(ExportError, match="int8: found 'static' for torchscript, which has no integers"):
        prune_ssl.export(folder, corpus / "out", "torchscript", data=ExportData(corpus=corpus, int8="static"))
    with pytest.raises(ExportError, match="int8: found 'int4', wanted one of dynamic, static, best"):
        ExportData(corpus=corpus, int8="int4")
