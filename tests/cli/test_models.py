"""How commands load a model: the line on its head goes where it does not disturb, choices are checked."""

import pytest

import prune_ssl
from prune_ssl.cli.models import Loading, load_and_say
from prune_ssl.errors import ModelError, RecipeError
from tests.support.models import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(prune_ssl.save_pretrained(tiny_model(), tmp_path_factory.mktemp("saved") / "model"))


@pytest.mark.parametrize("aside", [False, True])
def test_the_head_is_said_on_one_of_two_streams(folder: str, capsys, aside: bool) -> None:
    model = load_and_say(folder, Loading(), aside)
    assert type(model).__name__ == "HubertForSequenceClassification"
    out, err = capsys.readouterr()
    said, silent = (err, out) if aside else (out, err)
    assert said.startswith("head: kept")
    assert silent == ""


def test_a_head_may_be_dropped(folder: str, capsys) -> None:
    assert type(load_and_say(folder, Loading(head="drop"))).__name__ == "HubertModel"
    assert "dropped by request" in capsys.readouterr().out


def test_another_word_is_refused_before_a_model_is_looked_for() -> None:
    with pytest.raises(RecipeError, match="--head: found 'maybe'; wanted one of keep, drop"):
        load_and_say("no-model", Loading(head="maybe"))
    with pytest.raises(ModelError):
        load_and_say("no-model", Loading())
