"""The model card says what the report says, and the hub can read its metadata."""

import pytest
from huggingface_hub import ModelCard

from prune_ssl.reporting.card import Provenance, model_card
from tests.support.reports import HOSTILE


def card_of(made, **more):
    return ModelCard(model_card(made.data, Provenance(**more)))


def test_metadata_names_task_base_and_metric(made):
    source = {"language": "ar", "license": "cc-by-4.0", "datasets": ["corpus"], "tags": ["theirs"]}
    card = card_of(made, base_model="org/model", task="classification", data="words", source_card=source)
    assert card.data.library_name == "transformers"
    assert card.data.base_model == "org/model"
    assert card.data.pipeline_tag == "audio-classification"
    assert (card.data.language, card.data.license) == ("ar", "cc-by-4.0")
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("accuracy", 0.969, "words")
    assert "prune_ssl" in card.data.tags


@pytest.mark.parametrize("base", [None, "/a/folder", "../up"])
def test_a_folder_is_no_base_model_of_the_hub(made, base):
    assert card_of(made, base_model=base).data.base_model is None


def test_a_folder_that_looks_like_a_name_of_the_hub_is_none(made, tmp_path, monkeypatch):
    (tmp_path / "runs" / "dense").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert card_of(made, base_model="runs/dense").data.base_model is None
    assert card_of(made, base_model="runs/other").data.base_model == "runs/other"


def test_a_metric_is_given_with_its_interval(made):
    judged = {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95, "loss": 1.0, "clips": 30.0}
    data = made.data.model_copy(update={"results": {"recovered": judged}})
    card = ModelCard(model_card(data, Provenance()))
    assert "accuracy 90.0%, 95% interval 80.0% to 95.0%" in card.text
    assert [result.metric_type for result in card.data.eval_results] == ["accuracy"]


def test_the_text_says_cost_budget_and_how_to_load(made):
    text = card_of(made, task="classification", data="words", command="prune-ssl run x.yaml").text
    assert "AutoModelForAudioClassification.from_pretrained" in text
    assert "trust_remote_code=True" in text
    assert "`macs=50%,frontend.macs=40%,params=2K`" in text
    assert "prune-ssl run x.yaml" in text
    assert "97.4%" in text
    assert "96.9%" in text
    assert HOSTILE not in text
