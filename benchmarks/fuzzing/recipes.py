"""Recipes as people write and damage them, with overrides; what is taken must read back equal."""

import json
import random
import string
from pathlib import Path

import yaml

from fuzzing.case import Case
from prune_ssl.recipes import load_recipe, make_recipe
from prune_ssl.selection import parse_budget

GOOD = """\
name: tiny
task: classification
about: {data: words, method: HJ-Pruning}
model:
  family: hubert
  config: {conv_dim: [8, 8, 8, 8, 8, 8, 8], hidden_size: 16, num_attention_heads: 2, intermediate_size: 24,
    num_conv_pos_embeddings: 4, num_conv_pos_embedding_groups: 2, layerdrop: 0.0, hidden_act: gelu}
data:
  path: words
  augment: true
  max_seconds: 5
dense:
  steps: 20
  learning_rate: 1.0e-3
pruning:
  budget: macs=50%
  steps: 30
  learning_rate: 5.0e-4
  recovery: 1.5
  kinds: [conv, heads, ffn]
distillation:
  losses: {l1: 1.0, logits: 0.5}
report: {seconds: [1, 5.0], threads: [1]}
optimizer: {betas: [0.9, 0.99]}
batch_size: 8
seed: 3
output: runs/{name}-{seed}
"""
VALUES = (
    *(
        "no",
        "yes",
        "null",
        "~",
        "",
        "true",
        "1",
        "-1",
        "0",
        "0.5",
        ".nan",
        ".inf",
        "-.inf",
        "1e5",
        "1e400",
        "9" * 5000,
    ),
    *(
        "2020-99-99",
        "2020-01-01",
        "12:30:45",
        "010",
        "0x1F",
        "1_000",
        "[]",
        "{}",
        "[1, 2]",
        "{a: 1}",
        "[[[]]]",
        "a: b",
    ),
    *(
        "foo",
        "'macs=50%'",
        '"macs=50%"',
        "50%",
        "macs=0.5",
        "[80%, 60%]",
        "[.nan]",
        "80%",
        "[50%, params=3M]",
        "' '",
    ),
    *(
        "!!python/object/apply:os.system ['echo hi']",
        "!!binary aGk=",
        "!!timestamp 2020-99-99",
        "!!int x",
        "!!set {a}",
    ),
    *(
        "&a [*a, *a]",
        "*nothing",
        "@x",
        "`x`",
        "%x",
        "|",
        ">\n  text",
        '"\\ud800"',
        '"\\0"',
        "ünïcode",
        "🙂",
        "../../x",
    ),
    *(
        "{name}",
        "runs/{foo}",
        "{name.__class__}",
        "{0}",
        "{name:>99999999999}",
        "{name!r}",
        "x" * 3000,
        "\t",
        "- 1",
        "? x",
    ),
    *(
        "speaker_verification",
        "ctc",
        "representation",
        "wavlm",
        "wav2vec2-bert",
        "gates",
        "one_shot",
        "stock",
        "taylor",
    ),
)
KEYS = (
    *(
        "name",
        "task",
        "model",
        "model.name",
        "model.config",
        "model.config.hidden_act",
        "model.config.hiden_size",
    ),
    *(
        "data.path",
        "data.augment",
        "data.target",
        "data.stream",
        "data.max_seconds",
        "dense",
        "dense.steps",
        "seed",
    ),
    *(
        "pruning.budget",
        "pruning.budgets",
        "pruning.kinds",
        "pruning.criterion",
        "pruning.steps",
        "pruning",
        "student",
    ),
    *(
        "distillation.losses",
        "distillation.layers",
        "report.seconds",
        "report.threads",
        "output",
        "batch_size",
        "smoke",
    ),
    *(
        "budget",
        "steps",
        "bugdet",
        "pruning.budgett",
        "batchsize",
        "about",
        "optimizer.betas",
        "a.b.c",
        "",
        ".",
        "a..b",
    ),
    *(
        "student.layers",
        "student.reuse",
        "model.config.conv_dim",
        "model.config.num_hidden_layers",
        "decoding.lm",
    ),
)
RIGHT = (
    *("seed=7", "dense=null", "dense.steps=7", "pruning.budget=params=40%", "pruning.budgets=[80%, 60%]"),
    *("data.augment=no", "data.path='123'", "report.threads=[1, 2]", "pruning.kinds=[ffn]", "bf16=no"),
    *("model.config.hidden_act=relu", "model.config.layerdrop=0.1", "model.name=some/folder", "smoke=yes"),
    *("about.paper=2020-01-01", "distillation=null", "pruning.round_to=0x8", "output=out/{seed}", "name=ünï"),
)
DAMAGES = (
    *(
        "not_utf8",
        "utf16",
        "bom",
        "tabs",
        "cut",
        "noise",
        "list",
        "empty",
        "comment",
        "two",
        "binary",
        "long",
        "deep",
    ),
    *("laughs", "duplicate", "keys", "crlf", "anchor", "merge", "swap", "cycle", "braces"),
)


def make(rng: random.Random, place: Path) -> Case:
    """Return a recipe with a few wrong values, a damaged file, or odd overrides."""
    path, overrides = place / rng.choice(("recipe.yaml", "my recipe.yaml", "r")), list[str]()
    content, label = GOOD.encode(), "good"
    kind = rng.random()
    if kind < 0.45:
        lines = GOOD.splitlines(keepends=True)
        for _ in range(rng.choice((1, 1, 2))):
            at = rng.randrange(len(lines))
            key, colon, _ = lines[at].partition(":")
            lines[at] = f"{key}{colon} {rng.choice(VALUES)}\n" if colon else lines[at]
            label = lines[at][:80]
        content = "".join(lines).encode("utf-8", "surrogatepass")
    elif kind < 0.7:
        damage = rng.choice(DAMAGES)
        content, label = _damaged(rng, damage), damage
    if kind > 0.6:
        right = rng.random() < 0.4
        overrides = [rng.choice(RIGHT) if right else _override(rng) for _ in range(rng.choice((1, 1, 2, 3)))]
    path.write_bytes(content)
    return Case(
        f"recipe with {label!r}, overrides {str(overrides)[:150]}", lambda: _check(path, overrides, place)
    )


def _override(rng: random.Random) -> str:
    if rng.random() < 0.15:
        return "".join(rng.choices(string.printable, k=rng.randint(0, 12)))
    key, value = (
        rng.choice(KEYS),
        rng.choice((*VALUES, "7", "0.25", "params=3M", "{steps: 3, learning_rate: 0.1}")),
    )
    return f"{key}{rng.choice(('=', '=', '=', '=', '==', ':', ' = ', ''))}{value}"


def _damaged(rng: random.Random, damage: str) -> bytes:
    at = rng.randrange(len(GOOD))
    lines = GOOD.splitlines(keepends=True)
    swapped = rng.sample(lines, len(lines))
    texts = {
        "tabs": GOOD.replace("  ", "\t"),
        "cut": GOOD[:at],
        "noise": GOOD[:at] + "".join(rng.choices(string.printable, k=3)) + GOOD[at:],
        "list": "- " + GOOD.replace("\n", "\n  "),
        "empty": rng.choice(("", "\n\n", " ", "---\n", "null\n", "...\n")),
        "comment": "# nothing\n",
        "two": f"{GOOD}---\n{GOOD}",
        "long": GOOD + "# " + "x" * 10_000_000,
        "deep": "name: " + "[" * rng.choice((30, 500, 50_000)) + "\n",
        "laughs": "a: &a0 [x, x]\n"
        + "".join(f"b{i}: &a{i + 1} [*a{i}, *a{i}, *a{i}]\n" for i in range(60))
        + GOOD,
        "duplicate": GOOD + rng.choice(lines[:1] + lines[-3:]),
        "keys": GOOD
        + rng.choice(("1: x\n", "null: 1\n", "[a]: x\n", "? {a: b}\n: c\n", "true: 1\n", "2020-01-01: 1\n")),
        "crlf": GOOD.replace("\n", "\r\n"),
        "anchor": GOOD.replace("steps: 20", "steps: &n 20").replace("steps: 30", "steps: *n"),
        "merge": "base: &b {steps: 3}\n" + GOOD.replace("dense:", "dense:\n  <<: *b"),
        "swap": "".join(swapped),
        "cycle": "name: &x {a: *x}\n" + GOOD,
        "braces": json.dumps(yaml.safe_load(GOOD)),
    }
    if damage in texts:
        return texts[damage].encode()
    if damage == "not_utf8":
        return GOOD.encode()[:at] + bytes(rng.choices(range(128, 256), k=2)) + GOOD.encode()[at:]
    if damage == "utf16":
        return GOOD.encode("utf-16")
    return b"\xef\xbb\xbf" + GOOD.encode() if damage == "bom" else rng.randbytes(2000)


def _check(path: Path, overrides: list[str], place: Path) -> None:
    """Read a recipe; what it holds must be finite and plain, and read back equal from JSON and from YAML."""
    recipe = load_recipe(path, overrides)
    plain = json.loads(recipe.model_dump_json(), parse_constant=_refuse)
    assert make_recipe(plain) == recipe, "JSON does not read back equal"
    written = place / "written.yaml"
    written.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
    assert load_recipe(written) == recipe, "YAML does not read back equal"
    if recipe.pruning is not None:
        for text in (recipe.pruning.budget, *recipe.pruning.budgets):
            parse_budget(text)
    assert recipe.folder.parts, "no folder"
    if not any(each.startswith("output") for each in overrides):
        assert ".." not in recipe.name
    for override in overrides:
        _is_applied(recipe, override, overrides)


def _is_applied(recipe: object, override: str, overrides: list[str]) -> None:
    """Look at whole numbers, which nothing reads in another way."""
    key, _, value = override.partition("=")
    if (
        value not in ("7", "0", "1")
        or sum(key.strip().startswith(each.split("=")[0]) for each in overrides) > 1
    ):
        return
    found = recipe
    for name in key.strip().split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name, None)
    wanted = {int(value), float(value), value, bool(int(value))}
    assert found in wanted or found is None or not isinstance(found, (int, float)), f"{override}: {found!r}"


def _refuse(text: str) -> None:
    raise AssertionError(f"{text} in the JSON")
