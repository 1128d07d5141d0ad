"""Keeps and plans: whole numbers of units and nothing else, from Python and from files."""

import json
import math

import numpy as np
import pytest
import torch

from prune_ssl import Plan, resize, save_pretrained, trace
from prune_ssl.artifacts.folder import PLAN_FILE, load_plan
from prune_ssl.errors import ArtifactError, KeepError
from tests.support.models import first_output, relative_difference, tiny_model

NAME = "layer.0.ffn"


@pytest.fixture(scope="module")
def dense():
    torch.manual_seed(0)
    return tiny_model().double()


@pytest.fixture(scope="module")
def graph(dense):
    return trace(dense)


@pytest.mark.parametrize(
    "units",
    [
        *([1.7], [1.0], [0, 2.0], "0123", b"012", [True], [False, True], [None], None, [[0, 1]], [[0], [1]]),
        *({0: 1}, {"a": 0}, 3, 0, 2.5, ["0"], [0, "1"], [0, math.nan], [1e9], ..., [0 + 1j]),
        *(np.array([0.0, 1.0]), np.array([True, False]), np.array([[0, 1]]), np.array(3), np.array(["0"])),
        *(torch.tensor([0.0]), torch.tensor([True]), torch.tensor([[0]]), torch.tensor(1), [torch.tensor(1)]),
        *([np.True_], [np.float32(1)], [-1], [0, -1], [24], [0, 0], [1, 2, 1], np.array([3, 3]), range(25)),
        *([10**30], [0, np.int64(-5)]),
    ],
    ids=str,
)
def test_what_are_no_units_is_refused_in_one_line(graph, dense, units):
    for give in (graph.check, lambda keep: resize(dense, graph, keep), lambda keep: graph.cost(keep)):
        with pytest.raises(KeepError, match=r"keep of layer\.0\.ffn") as caught:
            give({NAME: units})
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300


def test_a_width_says_what_to_give(graph, dense):
    with pytest.raises(KeepError, match=r"found 64, a width; .*range\(64\) keeps the first 64"):
        resize(dense, graph, {NAME: 64})


@pytest.mark.parametrize(
    "keep", [None, [], ["layer.0.ffn"], "layer.0.ffn", 3, {3: [0]}, {None: []}, [(NAME, [0])]]
)
def test_what_is_no_keep_is_refused(graph, dense, keep):
    for give in (graph.check, lambda each: resize(dense, graph, each)):
        with pytest.raises(KeepError) as caught:
            give(keep)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "units",
    [
        *([5, 2, 0], (5, 2, 0), {0, 2, 5}, frozenset([0, 2, 5]), [np.int64(5), np.uint8(0), 2]),
        *(
            np.array([5, 0, 2]),
            np.array([0, 2, 5], dtype=np.uint16),
            torch.tensor([5, 0, 2]),
            {0: 0}.keys() | {2, 5},
        ),
        (unit for unit in (0, 5, 2)),
    ],
    ids=lambda units: type(units).__name__,
)
def test_whole_numbers_of_any_kind_are_taken(graph, units):
    found = graph.check({NAME: units})
    assert found == {NAME: (0, 2, 5)}
    assert {type(unit) for unit in found[NAME]} == {int}


def test_ranges_and_no_unit_at_all_are_taken(graph):
    assert graph.check({NAME: range(0, 24, 8), "layer.1.heads": []}) == {
        NAME: (0, 8, 16),
        "layer.1.heads": (),
    }


def test_scales_go_with_their_units_whatever_the_order_of_the_keep(graph, dense):
    sorted_plan = Plan({NAME: (1, 4, 9)}, {NAME: (0.1, 0.5, 0.9)})
    mixed = Plan({NAME: (9, 1, 4)}, {NAME: (0.9, 0.1, 0.5)})
    audio = torch.randn(1, 8000, dtype=torch.float64)
    found = [first_output(resize(dense, graph, plan), audio) for plan in (sorted_plan, mixed)]
    assert relative_difference(*found) < 1e-12


@pytest.mark.parametrize(
    "scales",
    [
        {NAME: (1.0,)},
        {NAME: (1.0, math.nan, 1.0)},
        {NAME: (1.0, math.inf, 1.0)},
        {"layer.9.ffn": (1.0,)},
        {NAME: ()},
        {"layer.1.ffn": (1.0, 1.0)},
    ],
)
def test_scales_that_do_not_fit_are_refused(graph, dense, scales):
    with pytest.raises(KeepError):
        resize(dense, graph, Plan({NAME: (1, 4, 9)}, scales))


# -- files

GOOD = {"prune_format_version": 1, "keep": {NAME: [0, 2, 5]}, "scales": {NAME: [1.0, 0.5, 2]}}


def written(folder, data):
    (folder / PLAN_FILE).write_text(data if isinstance(data, str) else json.dumps(data))
    return folder


def test_a_plan_is_read_as_it_was_saved(tmp_path):
    assert load_plan(written(tmp_path, GOOD)) == Plan({NAME: (0, 2, 5)}, {NAME: (1.0, 0.5, 2.0)})


@pytest.mark.parametrize(
    "change",
    [
        *({"prune_format_version": version} for version in (99, 0, "1", None, 1.0, True, [1], {})),
        *({"keep": keep} for keep in (None, [], "x", 3, {NAME: "0123"}, {NAME: [1.7]}, {NAME: [True]})),
        *(
            {"keep": {NAME: units}}
            for units in ([0, 0, 1], [-1, 2, 3], 3, None, {"0": 1}, [[0]], ["0", "1", "2"])
        ),
        *({"scales": scales} for scales in (None, [], {NAME: [1.0]}, {NAME: [1, 1, "1"]}, {NAME: "111"})),
        *(
            {"scales": {NAME: values}}
            for values in ([1, 1, math.nan], [1, 1, math.inf], [True, 1, 1], [[1], 1, 1])
        ),
    ],
    ids=str,
)
def test_a_plan_that_is_not_one_is_refused_in_one_line(tmp_path, change):
    with pytest.raises(ArtifactError, match="cannot read a pruning plan from") as caught:
        load_plan(written(tmp_path, GOOD | change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["prune_format_version", "keep"])
def test_a_plan_that_lacks_a_part_is_refused(tmp_path, missing):
    with pytest.raises(ArtifactError):
        load_plan(written(tmp_path, {key: value for key, value in GOOD.items() if key != missing}))


@pytest.mark.parametrize("text", ["", "[]", "null", "3", "{", '"keep"', "[" * 100_000, "\x00"])
def test_what_is_no_json_object_is_refused(tmp_path, text):
    with pytest.raises(ArtifactError, match="cannot read a pruning plan"):
        load_plan(written(tmp_path, text))


def test_units_of_numpy_are_saved_as_numbers(tmp_path, dense, graph):
    keep = {NAME: np.array([0, 2, 5]), "layer.1.ffn": [np.int64(3)]}
    folder = save_pretrained(resize(dense, graph, keep), tmp_path / "m", plan=keep)
    assert load_plan(folder).keep == {NAME: (0, 2, 5), "layer.1.ffn": (3,)}
