"""The report of a run holds what each stage did on each clip, also after the run was stopped and resumed."""

import json

import pytest

from prune_ssl.pipeline import run
from prune_ssl.recipes import load_recipe
from prune_ssl.tasks import outcomes_from_data, paired_difference
from prune_ssl.training import phases


class Stopped(Exception):
    pass


@pytest.fixture
def spoken(recipe, corpus):
    """The recipe, with a corpus that names speakers."""
    for path in corpus.glob("*/metadata.csv"):
        header, *rows = path.read_text().splitlines()
        named = [f"{row},s{index // 2}" for index, row in enumerate(rows)]
        path.write_text("\n".join([f"{header},speaker", *named]) + "\n")
    return recipe


@pytest.mark.filterwarnings("ignore::prune_ssl.PruneWarning")
@pytest.mark.slow
@pytest.mark.parametrize("method", ["one_shot", "gates"])
def test_a_report_holds_the_outcomes_of_each_stage(spoken, tmp_path, monkeypatch, method):
    more = ["dense=null", "checkpoint_steps=1", f"pruning.method={method}"]
    loaded = load_recipe(spoken, more)
    with monkeypatch.context() as patch:
        recover = phases.recover

        def stopping(*args):
            recover(*args)
            raise Stopped

        patch.setattr(phases, "recover", stopping)
        with pytest.raises(Stopped):
            run(loaded, say=lambda line: None)
    run(loaded, say=lambda line: None, resume=True)
    found = json.loads((tmp_path / "out/report.json").read_text())
    outcomes = {stage: outcomes_from_data(data) for stage, data in found["outcomes"].items()}
    assert list(outcomes) == ["dense", "cut", "recovered"]
    for stage, each in outcomes.items():
        assert each.value == found["results"][stage]["accuracy"]
        assert each.speakers == (0, 0, 1, 1)
        assert found["results"][stage]["accuracy_speakers"] == 2.0
    wanted = paired_difference(outcomes["dense"], outcomes["recovered"])
    difference = found["differences"][-1]
    assert (difference["stage"], difference["drawn"]) == ("recovered", "by speaker, 2 speakers")
    assert (difference["difference"], difference["low"]) == (wanted.difference, wanted.low)
    if method == "gates":
        whole = run(load_recipe(spoken, [*more, f"output={tmp_path}/whole"]), say=lambda line: None)
        assert whole.report.data.outcomes == found["outcomes"]
        assert whole.report.data.model_dump()["differences"] == found["differences"]
