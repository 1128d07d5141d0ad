"""The text of recipes: what people and programs write into them, and what a refusal says."""

import json
from pathlib import Path

import pytest
import yaml

from prune_ssl.errors import RecipeError
from prune_ssl.recipes import load_recipe, make_recipe
from prune_ssl.recipes.reading import all_keys
from prune_ssl.recipes.schema import Recipe
from prune_ssl.recipes.yaml_text import read_text

GOOD = """\
name: tiny
model:
  family: hubert
  config: {hidden_size: 16, num_attention_heads: 2, intermediate_size: 24, hidden_act: gelu,
    num_conv_pos_embeddings: 4, num_conv_pos_embedding_groups: 2, layerdrop: 0.0}
data: {path: words}
dense: {steps: 20, learning_rate: 1.0e-3}
pruning:
  budget: macs=50%
  steps: 30
  learning_rate: 5.0e-4
seed: 3
"""


@pytest.fixture
def read(tmp_path):
    def load(content, *overrides):
        path = tmp_path / "recipe.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_recipe(path, list(overrides))

    return load


def refusal(read, content, *overrides):
    with pytest.raises(RecipeError) as refused:
        read(content, *overrides)
    words = str(refused.value)
    assert "\n" not in words
    assert len(words) < 1_700
    return words


def changed(before, after):
    assert before in GOOD
    return GOOD.replace(before, after)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GOOD.encode("utf-16"), "line 1: not UTF-8 text (byte 0xff)"),
        (GOOD.encode() + b"\xe9t\xe9: 1\n", "line 13: not UTF-8 text (byte 0xe9)"),
        (bytes(range(256)), "not UTF-8 text"),
        ("", "is empty; wanted a recipe"),
        ("# nothing\n", "is empty; wanted a recipe"),
        ("- a\n- b\n", "is a list; wanted a recipe"),
        ("just words\n", "is a str; wanted a recipe"),
        (GOOD + "---\n" + GOOD, "expected a single document"),
        (GOOD.replace("  ", "\t"), "found character '\\t' that cannot start any token, line 3, column 1"),
        (changed("seed: 3", "seed: [3"), "is not valid YAML"),
        (changed("name: tiny", "name: @tiny"), "line 1, column 7"),
        (changed("name: tiny", 'name: "a\x07b"'), "is not valid YAML"),
        (GOOD + "#" * 200_000, "is longer than 100,000 bytes"),
        ("name: " + "[" * 30 + "]" * 30, "nested too deeply"),
        ("name: " + "[" * 50_000, "nested too deeply"),
        (GOOD + "1: x\n", "line 13: the key '1' is not text; put it in quotes"),
        (GOOD + "null: x\n", "line 13: the key 'null' is not text"),
        (GOOD + "yes: x\n", "line 13: the key 'yes' is not text"),
        (GOOD + "[a]: x\n", "line 13: the key 'a list or mapping' is not text"),
        (GOOD + "? {a: b}\n: c\n", "line 13: the key 'a list or mapping' is not text"),
        (changed("layerdrop: 0.0", "0: a"), "model.config: the key '0' is not text"),
        (GOOD + "seed: 4\n", "line 13: the key 'seed' stands on line 12 already"),
        (
            changed("  steps: 30", "  steps: 3\n  steps: 30"),
            "line 11: pruning: the key 'steps' stands on line 10",
        ),
        (changed("tiny", "!!python/object/apply:os.system ['echo']"), "line 1: name: found the tag"),
        (changed("tiny", "!!binary aGk="), "found the tag 'tag:yaml.org,2002:binary'"),
        (changed("tiny", "!mine x"), "found the tag '!mine'"),
        (changed("seed: 3", "seed: !!int x"), "line 12: seed: cannot read 'x' as int"),
        (changed("seed: 3", "seed: " + "9" * 5_000), "line 12: seed: cannot read '999"),
        (changed("tiny", '"\\ud800"'), "line 1: name: the text has the control character '\\ud800'"),
        (changed("words", '"a\\0b"'), "line 6: data.path: the text has the control character '\\x00'"),
        (changed("0.0}", ".inf}"), "line 5: model.config.layerdrop: found .inf, wanted a finite number"),
        (changed("0.0}", "[1, {a: .nan}]}"), "found .nan, wanted a finite number"),
        (changed("budget: macs=50%", "budgets: .nan"), "line 9: pruning.budgets: found .nan"),
        (
            changed("budget: macs=50%", "budgets: 80%"),
            "budgets: found '80%', wanted a list such as [80%, 60%]",
        ),
        (changed("budget: macs=50%", "budgets: {a: 1}"), "wanted a list such as [80%, 60%]"),
        (changed("budget: macs=50%", "budgets: [80, 60]"), "did you mean macs=80% or macs=80M?"),
        (
            changed("budget: macs=50%", "budget: 50%"),
            "pruning.budget: cannot read '50%'; did you mean macs=50%?",
        ),
        (changed("budget: macs=50%", "budget: 0.5"), "did you mean macs=50%?"),
        (changed("budget: macs=50%", "budget: [macs=50%]"), "pruning.budget: Input should be a valid string"),
        (
            changed("tiny", "no"),
            'name: wanted text, found no, which YAML reads as false: write "no" (line 1)',
        ),
        (changed("tiny", "1.50"), 'found 1.50, which YAML reads as the number 1.5: write "1.50"'),
        (changed("tiny", "~"), 'found ~, which YAML reads as null: write "~"'),
        (changed("tiny", "[a]"), "name: Input should be a valid string, found ['a'] (line 1)"),
        (changed("tiny", "../../x"), "name: found '../../x', wanted a plain name"),
        (changed("tiny", "' . '"), "name: found ' . '"),
        (changed("gelu", "foo"), "model.config: hidden_act: found 'foo', wanted one of gelu"),
        (changed("layerdrop", "layerdorp"), "unknown field 'layerdorp'; did you mean 'layerdrop'?"),
        (changed("layerdrop: 0.0", "layerdrop: 1.5"), "layerdrop: found 1.5, wanted a number from 0 to 1"),
        (
            changed("layerdrop: 0.0", "layer_norm_eps: 1e-5"),
            "with a point and a sign, such as 1.0e-5",
        ),
        (changed("layerdrop: 0.0", "conv_dim: []"), "conv_dim: found [], wanted 1 to 100 whole numbers"),
        (changed("layerdrop: 0.0", "conv_stride: [0, 2, 2, 2, 2, 2, 2]"), "conv_stride: found"),
        (
            changed("hidden_size: 16", "hidden_size: 15"),
            "hidden_size 15 is not a multiple of num_attention_heads 2",
        ),
        (changed("hidden_size: 16", "hidden_size: 1000000000"), "wanted a whole number from 1 to 1000000"),
        (changed("hidden_size: 16", "hidden_size: 100000"), "wanted at most 1,000 and 20,000,000,000"),
        (changed("layerdrop: 0.0", "num_hidden_layers: 10000"), "10000 layers"),
        (changed("layerdrop: 0.0", "num_hidden_layers: -2"), "num_hidden_layers: found -2"),
        (changed("seed: 3", "seed: 1e400"), "seed: Input should be a valid integer"),
        (changed("seed: 3", "seed: 100000000000000000000"), "seed: Input should be less than 4294967296"),
        (
            changed("steps: 30", "steps: 99999999999999"),
            "pruning.steps: Input should be less than or equal to",
        ),
        (changed("steps: 30", "stesp: 30"), "unknown key 'pruning.stesp'; did you mean 'steps'? (line 10)"),
        (changed("seed: 3", "steps: 3"), "did you mean 'dense.steps' or 'pruning.steps'? (line 12)"),
        (GOOD + "<<: {a: 1}\n", "unknown key '<<'"),
        (
            changed("dense: {", "dense: [{").replace("1.0e-3}", "1.0e-3}]"),
            "dense: wanted a section of keys, found [{",
        ),
        (GOOD + "\n".join(f"k{i}: 1" for i in range(40)), "and 35 more"),
    ],
)
def test_a_faulty_file_is_one_line_that_says_where(read, content, words):
    assert words in refusal(read, content)


def test_a_bomb_of_aliases_is_refused_at_once_and_a_plain_alias_is_read(read):
    bomb = "a0: &a0 [x, x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}, *a{i}]\n" for i in range(60))
    assert "with the aliases filled in" in refusal(read, bomb + GOOD)
    wide = "a0: &a0 [x, x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{f'*a{i}, ' * 30}]\n" for i in range(3))
    assert "with the aliases filled in" in refusal(read, wide + GOOD)
    assert "nested too deeply" in refusal(read, "name: &x {a: *x}\n")
    shared = GOOD.replace("steps: 20", "steps: &steps 25").replace("steps: 30", "steps: *steps")
    assert read(shared).pruning.steps == read(shared).dense.steps == 25


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("2020-01-01", "2020-01-01"),
        ("2020-99-99", "2020-99-99"),
        ("12:30:45", "12:30:45"),
        ("010", "010"),
        ("=", "="),
        ("'no'", "no"),
        ('"1.5"', "1.5"),
        ("ünï 🙂", "ünï 🙂"),
        ("1e5", "1e5"),
    ],
)
def test_what_looks_like_a_date_or_an_odd_number_is_text_and_reads_back(read, tmp_path, written, name):
    recipe = read(changed("tiny", written))
    assert recipe.name == name
    assert read(yaml.safe_dump(json.loads(recipe.model_dump_json()))) == recipe
    assert read(GOOD, f"name={written}").name == name


def test_a_byte_order_mark_and_other_line_ends_are_read(read):
    assert read(b"\xef\xbb\xbf" + GOOD.encode()) == read(GOOD)
    assert read(GOOD.replace("\n", "\r\n")) == read(GOOD)
    assert read(json.dumps(yaml.safe_load(GOOD))) == read(GOOD)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("budget=macs=40%", "unknown key 'budget'; did you mean pruning.budget=macs=40%?"),
        ("budgets=[80%, 60%]", "did you mean pruning.budgets=[80%, 60%]?"),
        ("learning_rate=1", "did you mean dense.learning_rate=1 or pruning.learning_rate=1?"),
        ("stepps=5", "did you mean dense.steps=5?"),
        ("batchsize=5", "did you mean 'batch_size'?"),
        ("pruning.batch_size=4", "did you mean batch_size=4?"),
        ("dense.budget=macs=40%", "did you mean pruning.budget=macs=40%?"),
        ("pruning.sed=3", "did you mean seed=3?"),
        ("epochs=3", "unknown key 'epochs'; wanted one of name, about, task"),
        ("a.b.c", "cannot read the override 'a.b.c'; wanted key.sub=value."),
        ("pruning.steps", "wanted key.sub=value, as in pruning.steps=..."),
        ("steps:5", "wanted key.sub=value, as in dense.steps=..."),
        ("=5", "cannot read the override '=5'"),
        ("a..b=1", "cannot read the override 'a..b=1'"),
        (".seed=1", "cannot read the override '.seed=1'"),
        ("seed.x=1", "override 'seed.x=1': seed is a value, not a section"),
        ("seed=1: 2: 3", "override 'seed=1: 2: 3': not valid YAML"),
        ("seed={a: 1, a: 2}", "the key 'a' stands on line 1 already"),
        ("seed=!!python/name:os.system", "found the tag"),
        ("name=on", 'wanted text, found on, which YAML reads as true: write "on" (override'),
        ("name=", "name: Input should be a valid string, found None"),
        ("seed=", "seed: Input should be a valid integer"),
        ("output=''", "output: found an empty text, wanted a folder"),
        ("output='{name:>99999999999}'", "only {name} and {seed} are filled in"),
        ("output='{name!r}'", "only {name} and {seed} are filled in"),
        ("pruning.kinds=[convs]", "pruning.kinds: found ['convs'], wanted some of conv, heads, ffn"),
        ("pruning.criterion=magic", "pruning.criterion: found 'magic', wanted one of magnitude"),
        ("pruning.learning_rate=.nan", "wanted a finite number"),
        ("report.threads=[0]", "report.threads.0: Input should be greater than or equal to 1, found 0"),
        ("report.seconds=[]", "report.seconds: Tuple should have at least 1 item"),
        ("pruning=none", "pruning: wanted a section of keys, found 'none'"),
    ],
)
def test_an_override_that_is_wrong_is_one_line_that_names_it(read, override, words):
    said = refusal(read, GOOD, override)
    assert words in said
    assert override[:40] in said


def test_overrides_are_read_as_yaml_and_the_last_one_counts(read):
    recipe = read(
        GOOD,
        "name='a=b=c'",
        'data.path="x: y"',
        "pruning.budget=macs=40%,frontend.params=50%",
        "seed=1",
        "seed=0x10",
        "data.augment.speeds=[1.0]",
        "bf16=yes",
        "dense=null",
        "dense.steps=5",
        "dense.learning_rate=1e-3",
    )
    assert (recipe.name, recipe.data.path, recipe.seed, recipe.bf16) == ("a=b=c", "x: y", 16, True)
    assert recipe.pruning.budget == "macs=40%,frontend.params=50%"
    assert recipe.data.augment.speeds == (1.0,)
    assert (recipe.dense.steps, recipe.dense.learning_rate) == (5, 1e-3)


def test_every_section_is_searched_for_a_key():
    keys = all_keys(Recipe)
    assert {"seed", "pruning.budget", "data.augment.noise", "data.stream.buffer", "optimizer.betas"} <= set(
        keys
    )
    assert len(keys) == len(set(keys)) > 100


def test_plain_data_from_elsewhere_is_checked_too():
    data = yaml.safe_load(GOOD)
    assert make_recipe(data).name == "tiny"
    for wrong in (
        {**data, 1: 2},
        {**data, "pruning": {**data["pruning"], "learning_rate": float("nan")}},
        [],
        None,
    ):
        with pytest.raises(RecipeError):
            make_recipe(wrong)


def test_lines_of_keys_and_values_are_known():
    found = read_text("a: 1\nb:\n  - x\n  - c: no\n", "here")
    assert found.data == {"a": 1, "b": ["x", {"c": False}]}
    assert found.lines[("b", 1, "c")] == 4
    assert found.texts[("b", 1, "c")] == "no"


def test_overrides_reach_into_sections(recipe):
    loaded = load_recipe(
        recipe, ["pruning.budget=params=40%", "seed=3", "dense=null", "report.threads=[1, 2]"]
    )
    assert loaded.pruning.budget == "params=40%"
    assert (loaded.seed, loaded.dense, loaded.report.threads) == (3, None, (1, 2))


def test_a_missing_or_malformed_recipe_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="cannot read the recipe"):
        load_recipe(tmp_path / "no.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1,")
    with pytest.raises(RecipeError, match="is not valid YAML"):
        load_recipe(tmp_path / "bad.yaml")


def test_an_override_of_budgets_replaces_the_budget_of_the_file_and_the_other_way_round(recipe, tmp_path):
    assert load_recipe(recipe, ["pruning.budgets=[80%, 60%]"]).pruning.budget == "macs=60%"
    file = tmp_path / "progressive.yaml"
    data = yaml.safe_load(Path(recipe).read_text())
    data["pruning"] = data["pruning"] | {"budgets": ["80%", "60%"], "budget": "macs=60%"}
    file.write_text(yaml.safe_dump(data))
    alone = load_recipe(file, ["pruning.budget=params=50%"]).pruning
    assert (alone.budgets, alone.budget) == ((), "params=50%")
    with pytest.raises(RecipeError, match="the last of budgets is macs=60%; leave it out"):
        load_recipe(file, ["pruning.budgets=[80%, 60%]", "pruning.budget=macs=50%"])
