"""What the options of commands have in common: ranges, choices, patterns, and files to be written."""

import math
import os
from pathlib import Path

import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.cli.options import (
    Timed,
    as_yaml,
    check_choice,
    check_folder,
    check_patterns,
    check_writable,
    number,
    traced,
)
from prune_ssl.errors import ArtifactError, RecipeError
from tests.support.models import tiny_model


@given(value=st.floats() | st.lists(st.floats(), max_size=3) | st.none())
def test_only_finite_numbers_of_the_range_pass(value: float | list[float] | None) -> None:
    check = number(-2, 3, "a weight")
    every = value if isinstance(value, list) else [] if value is None else [value]
    if all(math.isfinite(each) and -2 <= each <= 3 for each in every):
        assert check(value) is value
    else:
        with pytest.raises(typer.BadParameter, match="wanted a weight from -2 to 3"):
            check(value)


def test_a_choice_is_returned_or_the_nearest_named() -> None:
    assert check_choice("--to", "onnx", ("onnx", "pt2")) == "onnx"
    with pytest.raises(
        RecipeError, match=r"--to: found 'ONX'; did you mean 'onnx'\? wanted one of onnx, pt2"
    ):
        check_choice("--to", "ONX", iter(("onnx", "pt2")))
    with pytest.raises(RecipeError, match=r"--to: found 'zzz'; wanted one of onnx\."):
        check_choice("--to", "zzz", ("onnx",))


GROUPS = ("conv.0", "layer.0.ffn", "layer.0.heads", "layer.1.ffn", "hidden")


@pytest.mark.parametrize("pattern", ["conv.*", "layer.?.ffn", "hidden", "*"])
def test_a_pattern_that_matches_passes(pattern: str) -> None:
    check_patterns("--only", [pattern], GROUPS)
    check_patterns("--only", None, GROUPS)


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("layer.9.*", r"conv"),
        ("layer.0.f", r"layer.0.ffn"),
        ("hiden", "hidden"),
        ("", "conv.0"),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused_with_near_groups(pattern: str, near: str) -> None:
    with pytest.raises(RecipeError, match="matches no group of the model; ") as caught:
        check_patterns("--only", ["hidden", pattern], GROUPS)
    if pattern != "layer.9.*":
        assert near.replace("\\", "") in str(caught.value)


def test_patterns_choose_the_groups_of_a_graph() -> None:
    model = tiny_model()
    every = set(traced(model, None, None).groups)
    found = set(traced(model, ["layer.*"], ["*.ffn"]).groups)
    assert found == {name for name in every if name.startswith("layer.") and not name.endswith(".ffn")}
    with pytest.raises(RecipeError, match="--ignore: 'layers' matches no group"):
        traced(model, ["layer.0.*"], ["layers"])


def test_a_file_that_can_be_written_passes(tmp_path: Path) -> None:
    check_writable([tmp_path / "new" / "a.json", tmp_path / "b.CSV"], (".json", ".csv"))
    check_writable(None, (".json",))
    (tmp_path / "old.json").touch()
    check_writable([tmp_path / "old.json"], (".json",), overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.json"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.pdf"], r"its suffix is '\.pdf'; wanted one of \.json, \.csv"),
        (["a"], "its suffix is ''"),
        (["folder.json"], "is a folder, wanted the name of a file"),
        (["old.json"], "exists already"),
        (["link.json"], "exists already"),
        (["old.json/a.json"], r"cannot be made: .*old\.json is a file"),
        (["a.json", "a.json"], "twice"),
    ],
)
def test_a_file_that_could_not_be_written_is_refused_beforehand(tmp_path: Path, names, words: str) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "old.json").touch()
    (tmp_path / "link.json").symlink_to("gone")
    with pytest.raises(ArtifactError, match=words):
        check_writable([tmp_path / name for name in names], (".json", ".csv"))


def test_a_folder_without_the_right_to_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_folder(tmp_path / "deep" / "deeper")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ArtifactError, match=r"Give another folder"):
        check_folder(tmp_path / "deep")


@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
def test_any_text_is_the_value_of_an_override(text: str) -> None:
    printable = "".join(each for each in text if each.isprintable() or each in "\n\t")
    assert yaml.safe_load(f"a: {as_yaml(printable)}") == {"a": printable}


def test_commands_time_on_one_thread_unless_asked() -> None:
    assert Timed().timing.threads == (1,)
    asked = Timed(seconds=[1.0, 2.0], threads=[1, 4]).timing
    assert (asked.seconds, asked.threads) == ((1.0, 2.0), (1, 4))
