"""A user adds a criterion from outside, as docs/add_a_criterion.md says: the page is run as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import prune_ssl
from prune_ssl import Criterion, PruningConfig, register_criterion, select, trace
from prune_ssl.cli.extensions import load_extensions
from prune_ssl.errors import BudgetError
from prune_ssl.recipes import load_recipe
from prune_ssl.selection import CRITERIA, needing_no_data
from tests.support.models import tiny_model

PAGE = Path(prune_ssl.__file__).parents[1] / "docs" / "add_a_criterion.md"


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(autouse=True)
def own_criteria():
    """What a test registers goes with it."""
    before = dict(CRITERIA)
    yield
    CRITERIA.clear()
    CRITERIA.update(before)


def ones(group, evidence):
    return torch.ones(group.size)


def test_the_page_runs_as_it_stands():
    names: dict = {}
    for block in blocks("python"):
        exec(compile(block, PAGE.name, "exec"), names)
    graph = names["graph"]
    for keep in (names["keep"], names["keep_by_data"]):
        assert 0.5 * graph.cost().macs < graph.cost(keep).macs <= 0.6 * graph.cost().macs
    assert names["keep"] != names["keep_by_data"]
    assert names["keep"] != select(names["model"], graph, "macs=60%", round_to=1)
    assert names["config"].criterion == "steady"
    assert "l1" in needing_no_data()
    assert "steady" not in needing_no_data()


@pytest.fixture
def place(tmp_path):
    """A folder with the page's module and its script."""
    (tmp_path / "my_criteria.py").write_text(blocks("python")[0])
    (tmp_path / "my_prune_ssl.py").write_text(blocks("python script")[0])
    return tmp_path


@pytest.mark.slow
def test_the_script_of_the_page_prunes_by_the_new_criterion(place):
    tiny_model("hubert", "ForSequenceClassification", num_labels=2).save_pretrained(place / "dense")
    command = "my_prune_ssl.py prune dense small --budget macs=60% --criterion l1 --round-to 1"
    done = subprocess.run(
        [sys.executable, *command.split()],
        cwd=place,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (place / "small" / "pruning_plan.json").is_file()


def test_the_entry_point_of_the_page_is_imported(place, monkeypatch):
    group, line = re.search(r'entry-points\."(.*)"\]\n(.*)\n', blocks("toml")[0]).groups()
    package = place / "mine-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.delitem(sys.modules, "my_criteria", raising=False)
    load_extensions()
    assert {"l1", "steady"} <= set(CRITERIA)


def test_an_extension_that_cannot_be_imported_is_said(place, monkeypatch, capsys):
    package = place / "broken-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[prune_ssl.extensions]\nbroken = no_such_module\n")
    monkeypatch.syspath_prepend(str(place))
    load_extensions()
    assert "the extension broken (no_such_module) cannot be loaded" in capsys.readouterr().out.replace(
        "\n", " "
    )


def test_a_registered_criterion_is_known_to_configs_and_can_be_registered_again():
    with pytest.raises(BudgetError, match="criterion: found 'mine'"):
        PruningConfig(budget="macs=50%", method="one_shot", criterion="mine")
    register_criterion("mine", Criterion(ones))
    register_criterion("mine", Criterion(ones, by_cost=False))
    assert not CRITERIA["mine"].by_cost
    assert PruningConfig(budget="macs=50%", method="one_shot", criterion="mine").criterion == "mine"
    recipe = load_recipe("ks_digits_hj_mac", ["pruning.method=one_shot", "pruning.criterion=mine"])
    assert recipe.pruning.criterion == "mine"


@pytest.mark.parametrize(
    ("name", "criterion", "message"),
    [
        ("magnitude", Criterion(ones), "'magnitude' is one of the package's own"),
        ("", Criterion(ones), "found the name '', wanted a letter"),
        ("my/own", Criterion(ones), "found the name 'my/own'"),
        (3, Criterion(ones), "found the name 3"),
        ("mine", ones, r"found <function ones .* for 'mine', wanted prune_ssl\.Criterion\(score\)"),
        ("mine", Criterion("ones"), r"wanted prune_ssl\.Criterion\(score\)"),
        ("mine", Criterion(ones, needs="audio"), "needs 'audio', wanted one of weights, gradients, inputs"),
    ],
)
def test_a_criterion_that_cannot_work_is_refused_when_registered(name, criterion, message):
    with pytest.raises(BudgetError, match=message):
        register_criterion(name, criterion)


@pytest.mark.parametrize(
    ("score", "found"),
    [
        (lambda group, evidence: [1.0] * group.size, "found .*list"),
        (lambda group, evidence: torch.ones(group.size + 1), r"found the shape \(\d+,\)"),
        (lambda group, evidence: -torch.ones(group.size), "found -1 to -1"),
        (lambda group, evidence: torch.full((group.size,), float("nan")), "found nan to nan"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(score, found):
    register_criterion("mine", Criterion(score))
    model = tiny_model()
    wanted = r"wanted a tensor \(\d+,\) of finite numbers of 0 or more"
    with pytest.raises(BudgetError, match=rf"criterion 'mine' on group 'conv\.\d': {found}.*{wanted}"):
        select(model, trace(model), "macs=60%", "mine")
