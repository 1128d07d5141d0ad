"""Model folders and plans: places that are refused, plans that are read back, and cuts of cuts."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import prune_ssl
from prune_ssl.artifacts.folder import (
    PLAN_FILE,
    earlier_plan,
    load_plan,
    plan_as_json,
    plan_from_dense,
    prepare_folder,
)
from prune_ssl.errors import ArtifactError
from prune_ssl.gating import Plan
from tests.support.models import tiny_model


def test_a_free_place_is_given_back(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty", "deep/new"):
        assert prepare_folder(str(tmp_path / name)) == tmp_path / name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


def test_a_taken_place_is_refused_until_it_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").touch()
    with pytest.raises(ArtifactError, match="exists already"):
        prepare_folder(tmp_path / "taken")
    assert prepare_folder(tmp_path / "taken", overwrite=True) == tmp_path / "taken"
    (tmp_path / "file").touch()
    for overwrite in (False, True):
        with pytest.raises(ArtifactError, match="file"):
            prepare_folder(tmp_path / "file", overwrite)


NAMES = st.sampled_from(["conv.0", "layer.0.ffn", "layer.1.heads", "hidden"])
UNITS = st.lists(st.integers(0, 99), unique=True, max_size=6)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    keep = {name: tuple(units) for name, units in draw(st.dictionaries(NAMES, UNITS)).items()}
    scaled = [name for name in keep if draw(st.booleans())]
    finite = st.floats(-4, 4, allow_nan=False)
    scales = {name: tuple(draw(finite) for _ in keep[name]) for name in scaled}
    return Plan(keep, scales)


@settings(max_examples=40)
@given(plan=plans())
def test_a_plan_is_read_back_as_it_was(tmp_path_factory, plan: Plan) -> None:
    file = tmp_path_factory.getbasetemp() / "a_plan.json"
    file.write_text(json.dumps(plan_as_json(plan)))
    assert load_plan(file) == plan


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prune_format_version": 2}, "prune_format_version: found 2"),
        ({"prune_format_version": True}, "prune_format_version: found True"),
        ({"keep": [1]}, "wanted 'keep' and 'scales'"),
        ({"keep": {"a": [0, 0]}}, "keep of a"),
        ({"keep": {"a": [-1]}}, "keep of a"),
        ({"keep": {"a": [1.5]}}, "a"),
        ({"scales": {"a": [1.0]}}, "scales of a: wanted one finite number for each kept unit"),
        ({"scales": {"a": [1.0, True]}}, "scales of a"),
        ({"scales": {"a": [1.0, float("nan")]}}, "scales of a"),
        ({"scales": 3}, "wanted 'keep' and 'scales'"),
    ],
    ids=str,
)
def test_what_is_no_plan_is_refused_in_one_line(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    good = {"prune_format_version": 1, "keep": {"a": [0, 2]}, "scales": {}}
    (tmp_path / PLAN_FILE).write_text(json.dumps(good))
    assert load_plan(tmp_path).keep == {"a": (0, 2)}
    (tmp_path / PLAN_FILE).write_text(json.dumps(good | changes))
    with pytest.raises(ArtifactError, match=words) as caught:
        load_plan(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "", "[", "[]", "null", "[" * 100_000])
def test_a_file_without_a_plan_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / PLAN_FILE).write_text(content)
    with pytest.raises(ArtifactError, match="cannot read a pruning plan from"):
        load_plan(tmp_path)


def test_two_cuts_are_one_of_the_dense_model(tmp_path: Path) -> None:
    dense = tiny_model()
    graph = prune_ssl.trace(dense)
    first = Plan({"layer.0.ffn": tuple(range(0, 24, 2)), "layer.1.heads": (1, 3)}, {})
    once = prune_ssl.resize(dense, graph, first)
    assert earlier_plan(once) is None
    assert plan_from_dense(once, first) == first
    folder = prune_ssl.save_pretrained(once, tmp_path / "once", plan=first)
    loaded = prune_ssl.load_model(folder)
    assert earlier_plan(loaded) == first
    second = Plan({"layer.0.ffn": (0, 3, 5), "layer.2.ffn": (7,)}, {})
    whole = plan_from_dense(loaded, second)
    assert whole.keep["layer.0.ffn"] == (0, 6, 10)
    twice = prune_ssl.resize(loaded, prune_ssl.trace(loaded), second)
    at_once = prune_ssl.resize(dense, graph, whole)
    audio = torch.randn(1, 4000)
    with torch.no_grad():
        assert torch.equal(twice(audio).logits, at_once(audio).logits)
