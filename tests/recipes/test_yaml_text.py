"""YAML as plain data: what stays text, on which line things stand, and what is refused."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_ssl.errors import RecipeError
from prune_ssl.recipes.yaml_text import MOST_BYTES, MOST_LEVELS, MOST_VALUES, read_file, read_text

KEYS = st.from_regex(r"[a-z]{1,6}x", fullmatch=True)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12)


def nested(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.recursive(
        st.none() | st.booleans() | st.integers(-(10**12), 10**12) | WORDS | values,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    )


@settings(max_examples=40)
@given(data=nested(st.floats(-1000, 1000).map(lambda value: round(value, 3))))
def test_json_is_read_as_it_is_meant(data: object) -> None:
    assert read_text(json.dumps(data, ensure_ascii=False), "it").data == data


@settings(max_examples=40)
@given(data=nested(st.floats(allow_nan=False, allow_infinity=False)))
def test_what_yaml_writes_is_read_back(data: object) -> None:
    assert read_text(yaml.safe_dump(data, allow_unicode=True), "it").data == data


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("012", "012"),  # octal to others
        ("1:30", "1:30"),  # base 60 to others
        ("2024-01-02", "2024-01-02"),
        ("0x1f", 31),
        ("1_000", 1000),
        ("-7", -7),
        ("1.5e-3", 0.0015),
        ("1e-3", "1e-3"),  # YAML wants a point; whoever reads the value says so
        ("no", False),
        ("~", None),
        ("", None),
        ("=", "="),
        ("'5'", "5"),
    ],
)
def test_numbers_dates_and_words(text: str, wanted: object) -> None:
    found = read_text(text, "it").data
    assert found == wanted
    assert type(found) is type(wanted)


def test_places_know_their_lines_and_their_words() -> None:
    found = read_text("a: 1\nb:\n  - no\n  - {c: 0x10}\n", "it")
    assert found.data == {"a": 1, "b": [False, {"c": 16}]}
    assert found.lines[("a",)] == 1
    assert found.lines[("b", 0)] == 3
    assert found.lines[("b", 1, "c")] == 4
    assert found.texts[("b", 0)] == "no"
    assert found.texts[("b", 1, "c")] == "0x10"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2", "it, line 2: the key 'a' stands on line 1 already; leave one out"),
        ("1: 2", "it, line 1: the key '1' is not text; put it in quotes"),
        ("[1]: 2", "the key 'a list or mapping' is not text"),
        ("a: !!python/object:os.system x", "it, line 1: a: found the tag"),
        ("a: !!set {b}", "found the tag"),
        ("a: [1,", r"it is not valid YAML \(.*, line 1, column"),
        ("a: @b", "it is not valid YAML"),
        ("--- 1\n--- 2", "it is not valid YAML"),
        ("a: .inf", "line 1: a: found .inf, wanted a finite number"),
        ("a: [.nan]", r"line 1: a\.0: found .nan, wanted a finite number"),
        ('a: "\\x07"', "has the control character"),
        ('"a\\0": 1', "has the control character"),
        ('a: "\\ud800"', "control character"),
    ],
)
def test_what_is_no_plain_data_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        read_text(text, "it")
    assert "\n" not in str(caught.value)


def test_too_many_levels_and_values_are_refused() -> None:
    deep = MOST_LEVELS + 2
    with pytest.raises(RecipeError, match="nested too deeply; wanted at most 20 levels"):
        read_text("[" * deep + "]" * deep, "it")
    with pytest.raises(RecipeError, match="nested too deeply"):
        read_text("[" * 3_000 + "]" * 3_000, "it")
    with pytest.raises(RecipeError, match="more than 10,000 values"):
        read_text("[" + "1," * (MOST_VALUES + 1) + "]", "it")


def test_aliases_that_grow_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 8)]
    with pytest.raises(RecipeError, match="more than 10,000 values with the aliases filled in"):
        read_text("\n".join(lines), "it")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff", r"recipe, line 1: not UTF-8 text \(byte 0xff\)"),
        (b"a: 1\nb: \xe9", "line 2: not UTF-8"),
        (b"#" * (MOST_BYTES + 1), "is longer than 100,000 bytes"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "recipe").write_bytes(content)
    with pytest.raises(RecipeError, match=words):
        read_file(tmp_path / "recipe")


@pytest.mark.parametrize("name", ["gone", ".", "a\0b"])
def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match=r"cannot read the recipe '.*': .*; wanted a YAML file\.$"):
        read_file(tmp_path / name)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "recipe").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_file(tmp_path / "recipe").data == {"a": 1}
