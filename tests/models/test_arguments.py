"""What people give the public verbs: models by themselves or by name, settings of the right types."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import prune_ssl
from prune_ssl.errors import ModelError, RecipeError
from prune_ssl.models.arguments import as_model, as_own_model, check_types, shown
from tests.support.models import tiny_model


@dataclass(frozen=True)
class Settings:
    count: int = 1
    share: float = 0.5
    name: str | None = None
    kind: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = ()
    weights: Mapping[str, float] | None = None
    on: bool = False
    free: object = None

    def __post_init__(self) -> None:
        check_types(self, RecipeError, but=("free",))


RIGHT = {
    "count": [0, -3, np.int64(4)],
    "share": [0.0, 1, -1e300, np.float32(0.5)],
    "name": ["x", None],
    "kind": ["a", "b"],
    "sizes": [(), (1, 2), [3], range(4)],
    "weights": [{"l1": 1.0}, {}, None],
    "on": [True, False],
    "free": [{"any": "thing"}],
}
WRONG = {
    "count": [1.0, True, "1", None],
    "share": ["0.5", True, float("nan"), float("inf"), None],
    "name": [1, b"x"],
    "kind": ["c", 1],
    "sizes": [3, "12", (1.5,), (True,), ["1"]],
    "weights": [{"l1": "1"}, {1: 1.0}, [("l1", 1.0)]],
    "on": [0, 1, "yes", None],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in RIGHT for value in RIGHT[name]], ids=str
)
def test_values_of_the_right_type_are_taken(name: str, value: object) -> None:
    found = getattr(Settings(**{name: value}), name)
    if isinstance(value, list | range):
        assert found == tuple(value)
    else:
        assert found == value
        assert not isinstance(found, np.generic)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]], ids=str
)
def test_others_are_refused_by_field_with_what_is_wanted(name: str, value: object) -> None:
    with pytest.raises(RecipeError, match=rf"^{name}: found .*, wanted ") as caught:
        Settings(**{name: value})
    assert "\n" not in str(caught.value)


def test_wanted_types_are_said_in_words() -> None:
    words = {
        "count": "a whole number",
        "share": "a finite number",
        "name": "text or None",
        "kind": "one of a, b",
        "sizes": "a list of a whole number",
        "weights": "a mapping of text to a finite number or None",
        "on": "True or False",
    }
    for name, wanted in words.items():
        with pytest.raises(RecipeError) as caught:
            Settings(**{name: WRONG[name][0]})
        assert str(caught.value).endswith(f"wanted {wanted}.")


@given(value=st.text() | st.lists(st.integers()) | st.dictionaries(st.text(), st.floats()))
def test_any_value_is_shown_in_one_short_line(value: object) -> None:
    found = shown(value)
    assert "\n" not in found
    assert len(found) < 80
    assert found.endswith(f"({type(value).__name__})")


def test_a_module_is_shown_by_its_class() -> None:
    assert shown(nn.Linear(2, 2)) == "a Linear"


def test_a_model_is_taken_as_it_is_or_loaded(tmp_path: Path) -> None:
    model = tiny_model().train()
    assert as_model(model, "trace") is model
    folder = prune_ssl.save_pretrained(model, tmp_path / "model")
    for name in (folder, str(folder)):
        loaded = as_model(name, "trace")
        assert not loaded.training
        assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())


@pytest.mark.parametrize("given", [None, 3, nn.Linear, {"a": 1}])
def test_what_is_no_model_is_refused(given: object) -> None:
    with pytest.raises(ModelError, match=r"^trace: found .*, wanted a model"):
        as_model(given, "trace")


def test_a_verb_that_changes_its_model_takes_no_name() -> None:
    model = tiny_model()
    assert as_own_model(model, "attach_gates", "it changes it") is model
    for name in ("org/model", Path("org/model")):
        with pytest.raises(ModelError, match=r"attach_gates: .*'org/model'.*load_model\('org/model'\)"):
            as_own_model(name, "attach_gates", "it changes it")
