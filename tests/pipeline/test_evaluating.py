"""Judging a model folder: the results of its run, the settings that it remembers, and the refusals."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2FeatureExtractor

import prune_ssl
from prune_ssl import JudgingConfig, evaluate
from prune_ssl.cli.evaluate import lines_of
from prune_ssl.errors import DataError, ModelError, RecipeError
from prune_ssl.pipeline import run
from prune_ssl.pipeline.evaluating import Evaluation
from prune_ssl.recipes import load_recipe
from prune_ssl.tasks.tokenizers import character_tokenizer, phoneme_tokenizer
from tests.support.cli import run_cli
from tests.support.folders import tone
from tests.support.models import tiny_model


def corpus_of(place: Path, columns: str, rows: list[str], splits=("test",)) -> Path:
    """A corpus of noisy tones, one file for each row."""
    generator = np.random.default_rng(0)
    for split in splits:
        folder = place / split
        folder.mkdir(parents=True)
        for index in range(len(rows)):
            samples = tone(0.9 + 0.1 * index) + 0.01 * generator.standard_normal(len(tone(0.9 + 0.1 * index)))
            soundfile.write(folder / f"{index}.wav", samples, 16_000)
        lines = [f"{index}.wav,{row}" for index, row in enumerate(rows)]
        (folder / "metadata.csv").write_text("\n".join([f"file_name,{columns}", *lines]) + "\n")
    return place


def saved(place: Path, model, tokenizer=None) -> Path:
    folder = prune_ssl.save_pretrained(model, place, processor=Wav2Vec2FeatureExtractor())
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("made", ["pruned", pytest.param("fine-tuned", marks=pytest.mark.slow)])
def test_a_model_has_the_results_of_its_run(recipe, corpus, tmp_path, made):
    outcome = run(
        load_recipe(recipe, ["pruning=null"] if made == "fine-tuned" else []), say=lambda line: None
    )
    results = outcome.report.data.results
    judged = evaluate(outcome.model_folder, corpus)
    assert judged.results == results["recovered" if made == "pruned" else "fine_tuned"]
    assert (judged.task, judged.metric, judged.split) == ("classification", "accuracy", "test")
    assert judged.results["accuracy_low"] <= judged.results["accuracy"] <= judged.results["accuracy_high"]
    if made == "pruned":
        assert evaluate(outcome.folder / "dense", corpus).results == results["dense"]
    shutil.rmtree(corpus / "train")
    shutil.rmtree(corpus / "test")
    told = run_cli("evaluate", outcome.model_folder, corpus, "--split", "validation", "--json")
    assert told.exit_code == 0, told.output
    printed = json.loads(told.stdout)
    assert printed["results"]["clips"] == 4
    assert printed["results"] == evaluate(outcome.model_folder, corpus, "validation").results
    refused = run_cli("evaluate", outcome.model_folder, corpus)
    assert refused.exit_code == 2
    assert "no folder test/ in it (found: validation)" in refused.output


def test_the_settings_of_the_recipe_are_remembered_and_can_be_replaced(recipe, corpus, tmp_path):
    for split in ("train", "validation", "test"):
        path = corpus / split / "metadata.csv"
        path.write_text(path.read_text().replace("label", "pitch"))
    overrides = ["pruning=null", "data.target=pitch", "data.max_seconds=0.2"]
    outcome = run(load_recipe(recipe, overrides), say=lambda line: None)
    remembered = outcome.report.data.recipe
    assert (remembered["task"], remembered["data"]["target"]) == ("classification", "pitch")
    assert remembered["data"]["path"] == "corpus", "not where it lies on this machine"
    judged = evaluate(outcome.model_folder, corpus)
    assert judged.results == outcome.report.data.results["fine_tuned"]
    assert judged.notes == ("4 clips cut to the first 0.2 s",)
    whole = evaluate(outcome.model_folder, corpus, config=JudgingConfig(max_seconds=1.0))
    assert whole.notes == ()
    assert whole.results["loss"] != judged.results["loss"]
    with pytest.raises(DataError, match="no column 'label'"):
        evaluate(outcome.model_folder, corpus, config=JudgingConfig(target="label"))


def test_a_model_is_untouched_and_printed_results_have_intervals(corpus, tmp_path):
    labels = {"num_labels": 2, "id2label": {0: "high", 1: "low"}}
    folder = saved(tmp_path / "model", tiny_model("hubert", "ForSequenceClassification", **labels))
    model = prune_ssl.load_pretrained(folder).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    said: list[str] = []
    judged = evaluate(model, corpus, say=said.append)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert said == [f"{folder}: task classification, 4 test clips of {corpus}"]
    told = run_cli("evaluate", folder, corpus)
    assert told.exit_code == 0, told.output
    found = judged.results
    assert judged.outcomes.value == found["accuracy"]
    assert judged.as_data()["outcomes"] == judged.outcomes.to_data()
    interval = f"{found['accuracy_low']:.1%} to {found['accuracy_high']:.1%}"
    assert f"accuracy {found['accuracy']:.1%}, 95% interval {interval}\nclips 4\n" in told.output


def test_a_line_says_how_many_speakers_were_drawn():
    results = {"wer": 0.1, "wer_low": 0.05, "wer_high": 0.2, "wer_speakers": 3.0, "clips": 9.0}
    lines = lines_of(Evaluation("m", "c", "test", "ctc", "wer", results))
    assert lines == ["wer 10.0%, 95% interval 5.0% to 20.0% (by speaker, 3 speakers)", "clips 9"]


def test_labels_that_the_model_does_not_have_are_refused(corpus, tmp_path):
    labels = {"num_labels": 2, "id2label": {0: "up", 1: "low"}}
    folder = saved(tmp_path / "model", tiny_model("hubert", "ForSequenceClassification", **labels))
    with pytest.raises(DataError, match=r"(?s)test does not have the targets of .*'high' is not one of 'up'"):
        evaluate(folder, corpus)
    with pytest.raises(ModelError, match="has a classification head, the task wants a CTC head"):
        evaluate(folder, corpus, config=JudgingConfig(task="ctc", target="label"))
    with pytest.raises(RecipeError, match="split: found 'dev', wanted one of train, validation, test"):
        evaluate(folder, corpus, "dev")
    with pytest.raises(RecipeError, match="no task is named 'asr'"):
        evaluate(folder, corpus, config=JudgingConfig(task="asr"))
    refused = run_cli("evaluate", folder, corpus, "--task", "asr")
    assert refused.exit_code == 2
    assert "--task: found 'asr'; " in refused.output


def test_a_bare_model_and_one_of_no_folder_have_nothing_to_judge(corpus, tmp_path):
    folder = saved(tmp_path / "bare", tiny_model("hubert", "Model"))
    with pytest.raises(ModelError, match="is a HubertModel, whose outputs are not the answers of a task"):
        evaluate(folder, corpus)
    with pytest.raises(ModelError, match="was not loaded from a folder"):
        evaluate(tiny_model("hubert", "ForSequenceClassification"), corpus)
    with pytest.raises(ModelError, match="evaluate: found a Linear, wanted a model of transformers"):
        evaluate(torch.nn.Linear(1, 1), corpus)


def test_transcripts_are_judged_by_the_letters_of_the_model_in_the_case_of_train(tmp_path):
    corpus = corpus_of(tmp_path / "texts", "text", ["no", "on"], ("train", "test"))
    (corpus / "test/metadata.csv").write_text("file_name,text\n0.wav,NO\n1.wav,ON\n")
    model = tiny_model("hubert", "ForCTC", vocab_size=5, pad_token_id=0)
    folder = saved(tmp_path / "model", model, character_tokenizer(["no", "on"]))
    judged = evaluate(folder, corpus)
    assert (judged.task, judged.metric) == ("ctc", "wer")
    assert {"wer", "wer_low", "wer_high", "cer", "clips"} <= judged.results.keys()
    # Train is in the tokenizer's case, so the upper case of test stays, as in a run.
    assert judged.results["cer"] >= 1.0
    spelt = saved(tmp_path / "phonemes", model, phoneme_tokenizer(["n ow", "y n ow"]))
    (corpus / "test/metadata.csv").write_text("file_name,phonemes\n0.wav,n ow\n1.wav,y n ow\n")
    (corpus / "train/metadata.csv").unlink()
    shutil.rmtree(corpus / "train")
    assert evaluate(spelt, corpus).task == "phonemes"
    (folder / "vocab.json").unlink()
    with pytest.raises(ModelError, match=r"vocab\.json"):
        evaluate(folder, corpus)


XVECTOR = {
    "tdnn_dim": [8, 8],
    "tdnn_kernel": [3, 1],
    "tdnn_dilation": [1, 1],
    "xvector_output_dim": 8,
}


def test_speakers_and_several_columns_are_told_by_the_head_and_its_labels(tmp_path):
    rows = ["yes,ann", "no,ann", "yes,bob", "no,bob"]
    corpus = corpus_of(tmp_path / "spoken", "label,speaker", rows)
    columns = ["label=no", "label=yes"]
    kinds = {
        "speaker_verification": (["x", "y", "z"], "ForXVector", "eer"),
        "joint": ([*columns, "speaker=x", "speaker=y"], "ForXVector", "accuracy"),
        "slots": (columns, "ForSequenceClassification", "f1"),
    }
    for name, (labels, head, metric) in kinds.items():
        config = XVECTOR if head == "ForXVector" else {}
        numbered = dict(enumerate(labels))
        fields = {
            "num_labels": len(labels),
            "id2label": numbered,
            "label2id": {v: k for k, v in numbered.items()},
        }
        folder = saved(tmp_path / name, tiny_model("wav2vec2", head, **config, **fields))
        judged = evaluate(folder, corpus)
        assert (judged.task, judged.metric) == (name, metric)
        assert {metric, f"{metric}_low", f"{metric}_high"} <= judged.results.keys()
        assert ("eer" in judged.results) == (name != "slots")
        assert ("loss" in judged.results) == (name == "slots")
    with pytest.raises(DataError, match="found the target 'speaker', but the model predicts 'label'"):
        evaluate(tmp_path / "slots", corpus, config=JudgingConfig(target="speaker"))
    (corpus / "pairs.csv").write_text(
        "file_1,file_2,same_speaker\ntest/0.wav,test/1.wav,1\ntest/0.wav,test/2.wav,0\n"
    )
    found = evaluate(
        tmp_path / "speaker_verification", corpus, config=JudgingConfig(trials="pairs.csv", batch_size=1)
    )
    assert found.results["trials"] == 2
    soundfile.write(corpus / "test/0.wav", tone()[:800], 16_000)
    with pytest.raises(DataError, match="the x-vector head needs"):
        evaluate(tmp_path / "speaker_verification", corpus)
