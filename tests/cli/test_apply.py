"""prune-ssl apply: a plan and the dense checkpoint give the pruned model, also after two cuts."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prune_ssl import load_pretrained
from prune_ssl.artifacts import load_plan
from prune_ssl.cli.app import app
from tests.support.models import checksum, tiny_model


def run(*arguments: object, status: int = 0) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    tiny_model("hubert", "ForCTC").save_pretrained(tmp_path / "dense")
    return tmp_path / "dense"


def test_the_plan_of_a_pruned_folder_makes_it_again(dense: Path, tmp_path: Path) -> None:
    small, again = tmp_path / "small", tmp_path / "again"
    run("prune", dense, small, "--budget", "macs=60%", "--round-to", "1")
    found = run("apply", small, dense, again)
    assert "parameters" in found
    assert checksum(load_pretrained(again)) == checksum(load_pretrained(small))
    run("apply", small / "pruning_plan.json", dense, again, "--overwrite")
    assert checksum(load_pretrained(again)) == checksum(load_pretrained(small))


@pytest.mark.slow
def test_a_model_that_is_cut_twice_has_the_plan_of_one_cut(dense: Path, tmp_path: Path) -> None:
    first, second, again = tmp_path / "first", tmp_path / "second", tmp_path / "again"
    run("prune", dense, first, "--budget", "macs=70%", "--round-to", "1")
    more = ("--kinds", "conv,heads,ffn,hidden", "--allow-pruned")
    run("prune", first, second, "--budget", "macs=70%", "--round-to", "1", *more)
    run("apply", second, dense, again)
    made, wanted = load_pretrained(again), load_pretrained(second)
    shapes = {name: value.shape for name, value in wanted.state_dict().items()}
    assert {name: value.shape for name, value in made.state_dict().items()} == shapes
    assert load_plan(second) != load_plan(first)


def test_a_stock_plan_gives_a_folder_without_code(dense: Path, tmp_path: Path) -> None:
    run("prune", dense, tmp_path / "small", "--budget", "macs=90%", "--round-to", "1", "--layout", "stock")
    run("apply", tmp_path / "small", dense, tmp_path / "again", "--layout", "stock")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["model_type"] == "hubert"
    assert checksum(load_pretrained(tmp_path / "again")) == checksum(load_pretrained(tmp_path / "small"))


@pytest.mark.parametrize("change", ["group", "unit", "no plan", "text"])
def test_a_plan_of_another_model_is_one_error_and_writes_nothing(
    dense: Path, tmp_path: Path, change: str
) -> None:
    small, out = tmp_path / "small", tmp_path / "out"
    run("prune", dense, small, "--budget", "macs=60%", "--round-to", "1")
    file = small / "pruning_plan.json"
    data = json.loads(file.read_text())
    name = next(iter(data["keep"]))
    if change == "group":
        data["keep"]["layers.77.ffn"] = [0]
    elif change == "unit":
        data["keep"][name] = [10_000]
    if change == "no plan":
        file.unlink()
    else:
        file.write_text("{" if change == "text" else json.dumps(data))
    found = run("apply", small, dense, out, status=2)
    assert found.count("error:") == 1
    assert "Traceback" not in found
    assert not out.exists()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (("wav2vec2", {}), "made for a model of the family hubert, and this one is of the family wav2vec2"),
        (("hubert", {"intermediate_size": 40}), r"with 24 units in this group, and this model has 40"),
    ],
)
def test_a_plan_is_not_applied_to_a_model_that_it_was_not_made_for(
    dense: Path, tmp_path: Path, other: tuple[str, dict[str, int]], message: str
) -> None:
    run("prune", dense, tmp_path / "small", "--budget", "macs=60%", "--round-to", "1")
    family, sizes = other
    tiny_model(family, "ForCTC", **sizes).save_pretrained(tmp_path / "other")
    said = run("apply", tmp_path / "small", tmp_path / "other", tmp_path / "again", status=2)
    assert re.search(message, " ".join(said.split())), said
    assert not (tmp_path / "again").exists()


def test_a_plan_of_an_earlier_version_is_applied_as_it_is(dense: Path, tmp_path: Path) -> None:
    run("prune", dense, tmp_path / "small", "--budget", "macs=60%", "--round-to", "1")
    plan = json.loads((tmp_path / "small" / "pruning_plan.json").read_text())
    assert plan.pop("family") == "hubert"
    assert plan.pop("sizes")
    (tmp_path / "old.json").write_text(json.dumps(plan))
    run("apply", tmp_path / "old.json", dense, tmp_path / "again")
    assert checksum(load_pretrained(tmp_path / "again")) == checksum(load_pretrained(tmp_path / "small"))
