"""Every command with wrong options: one line, status 2, at once, nothing written; how the program ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

import prune_ssl
from prune_ssl.cli.app import app
from prune_ssl.recipes.shipped import shipped_names
from tests.support.models import tiny_model

RECIPE = "ks_digits_hj_mac"  # comes with the package
AUDIO = ("0", "-1", "nan", "inf", "1e9", "abc", "0.001", "")
COUNT = ("0", "-1", "1.5", "abc", "99999999999", "nan", "1e3")
SEED = ("-1", "1.5", "abc", "4294967296", "9" * 400)
BUDGET = ("50%", "0.5", "macs=0.5", "macs:50%", "MACs=50%", "macs=" + "9" * 309, "macs=nan", "", "macs=120%")
FILES = ("x.pdf", "x", "x.json.gz", ".json", "taken.json", "folder.json", "taken.json/x.json", "\0.json")
EVALUATE = ("evaluate", "no-model", "folder.json")
EXPORT = ("export", "no-model", "out", "--data", "folder.json")
PROBE = ("superb", "probe", "no-model", "ks", ".")
PRUNE = ("prune", "no-model", "out", "--budget", "macs=50%")
WRONG = {
    ("demo", "--budget"): (("demo",), BUDGET),
    ("demo", "--out"): (("demo",), ("", "taken.json", "taken.json/x", "full")),
    ("trace", "--seconds"): (("trace", "no-model"), AUDIO),
    ("trace", "--only"): (("trace", "tiny"), ("", "layer.9.*", "layers.0.ffn", "[")),
    ("trace", "--ignore"): (("trace", "tiny"), ("", "layer.9.*", "heads", "conv")),
    ("prune", "--budget"): (("prune", "no-model", "out"), BUDGET),
    ("trace", "--head"): (("trace", "no-model"), ("", "maybe", "Keep")),
    ("prune", "--head"): (PRUNE, ("", "maybe", "Keep")),
    ("report", "--head"): (("report", "no-model"), ("", "maybe", "Keep")),
    ("prune", "--dtype"): (PRUNE, ("", "float33", "half", "fp16")),
    ("prune", "--criterion"): (PRUNE, ("", "magnitud", "taylor", "Magnitude")),
    ("prune", "--normalise"): (PRUNE, ("", "costs", "None")),
    ("prune", "--layout"): (PRUNE, ("", "stok", "both")),
    ("prune", "--kinds"): (PRUNE, ("", "convs", "conv,,ffn", "conv;ffn", "all")),
    ("prune", "--only"): (("prune", "tiny", "out", "--budget", "macs=50%"), ("layer.9.*", "convs.*")),
    ("prune", "--ignore"): (("prune", "tiny", "out", "--budget", "macs=50%"), ("layer.9.*", "convs.*")),
    ("prune", "--round-to"): (PRUNE, COUNT),
    ("prune", "--seconds"): (PRUNE, AUDIO),
    ("recipes", "--into"): (
        ("recipes",),
        ("", "nothing.md", "folder.json", "binary", "nothing/x.md", "taken.json"),
    ),
    ("recipes", "--copy"): (("recipes",), ("", "nothing", "../x", "ks_digits", "KS_DIGITS_HJ_MAC")),
    ("init", "--budget"): (("init",), ("0.5", "macs=0.5", "macs:50%", "", "120%", "macs=nan")),
    ("init", "--task"): (("init",), ("", "asr", "CTC")),
    ("init", "--output"): (("init",), ("x.json", "", "taken.json/x.yaml", "nowhere\0.yaml")),
    ("sweep", "--budgets"): (("sweep", RECIPE), ("", " ", "50", "0.5", "25M", "macs=0.5", "50% nonsense")),
    ("sweep", "--methods"): (
        ("sweep", RECIPE),
        ("", "gate", "gates/taylor", "iterative/tailor", "/taylor", "one-shot"),
    ),
    ("sweep", "--seeds"): (("sweep", RECIPE), SEED),
    ("sweep", "--jobs"): (("sweep", RECIPE), COUNT),
    ("sweep", "--shard"): (("sweep", RECIPE), ("", "1", "0/4", "5/4", "a/4", "-1/4", "1/4/2")),
    ("sweep", "--on"): (("sweep", RECIPE), ("", "slurm", "ray://", "Ray", "http://host")),
    ("sweep", "--trial-cpus"): (("sweep", RECIPE), ("-1", "nan", "inf", "abc", "1e9")),
    ("sweep", "--trial-gpus"): (("sweep", RECIPE), ("-1", "nan", "inf", "abc", "1e9")),
    ("sweep", "--find"): (("sweep", RECIPE), ("", "1", "drop", "drop<1", "drop<=x", "drop<=-1")),
    ("sweep", "--find-step"): (("sweep", RECIPE), ("0", "-1", "nan", "inf", "abc", "99")),
    ("sweep", "--halving"): (("sweep", RECIPE), ("0", "1", "-1", "abc", "1.5", "2")),
    ("sweep", "--out"): (("sweep", RECIPE), ("taken.json", "taken.json/x")),
    ("evaluate", "--split"): (EVALUATE, ("", "dev", "Test", "tests")),
    ("evaluate", "--task"): (EVALUATE, ("", "asr", "CTC", "verification")),
    ("evaluate", "--max-seconds"): (EVALUATE, AUDIO),
    ("evaluate", "--batch-size"): (EVALUATE, COUNT),
    ("evaluate", "--beam"): (EVALUATE, COUNT),
    ("evaluate", "--lm-weight"): (EVALUATE, ("-1", "nan", "inf", "abc", "1e9")),
    ("evaluate", "--word-score"): (EVALUATE, ("nan", "inf", "abc", "1e9")),
    ("report", "--save"): (("report", "no-model"), FILES),
    ("report", "--seconds"): (("report", "no-model"), AUDIO),
    ("report", "--threads"): (("report", "no-model"), COUNT),
    ("bench", "--save"): (("bench", "no-model"), tuple(each for each in FILES if each != "taken.json")),
    ("bench", "--seconds"): (("bench", "no-model"), AUDIO),
    ("bench", "--threads"): (("bench", "no-model"), COUNT),
    ("export", "--to"): (("export", "no-model", "out"), ("", "onx", "ONNX", "tensorrt")),
    ("export", "--split"): (EXPORT, ("", "dev", "Test")),
    ("export", "--int8"): (EXPORT, ("", "fast", "Best")),
    ("export", "--max-drop"): (EXPORT, ("-1", "nan", "inf", "abc", "101")),
    ("bench", "--quantize"): (("bench", "no-model"), ("", "int4", "INT8")),
    ("bench", "--runtime"): (("bench", "no-model"), ("", "onx", "ONNX", "onnx-int4")),
    ("trace", "--latency"): (("trace", "no-model"), ("", "gpu", "cpu,threads=0", "cpu,seconds=-1")),
    ("import", "--heads"): (("import", "no-model", "out"), COUNT),
    ("sweep", "--freeze"): (("sweep", RECIPE), ("", "head", "Backbone")),
    ("apply", "--layout"): (("apply", "no-plan", "no-model", "out"), ("", "stok", "both")),
    ("apply", "--head"): (("apply", "no-plan", "no-model", "out"), ("", "maybe", "Keep")),
    ("apply", "--seconds"): (("apply", "no-plan", "no-model", "out"), AUDIO),
    ("import", "--family"): (("import", "no-model", "out"), ("", "hubrt", "HuBERT", "whisper")),
    ("import", "--seconds"): (("import", "no-model", "out"), AUDIO),
    ("transcribe", "--beam"): (("transcribe", "no-model", "a.wav"), COUNT),
    ("transcribe", "--lm-weight"): (("transcribe", "no-model", "a.wav"), ("-1", "nan", "inf", "abc", "1e9")),
    ("transcribe", "--word-score"): (("transcribe", "no-model", "a.wav"), ("nan", "inf", "abc", "1e9")),
    ("classify", "--best"): (("classify", "no-model", "a.wav"), COUNT),
    ("verify", "--threshold"): (("verify", "no-model", "a.wav", "b.wav"), ("nan", "inf", "abc", "2", "-1.5")),
    ("superb probe", "--rates"): (
        ("superb", "probe", "no-model", "ks", "."),
        ("0", "-1", "nan", "inf", "abc", "1e9"),
    ),
    ("superb probe", "--steps"): (("superb", "probe", "no-model", "ks", "."), COUNT),
    ("superb probe", "--batch-size"): (("superb", "probe", "no-model", "ks", "."), COUNT),
    ("superb probe", "--seed"): (("superb", "probe", "no-model", "ks", "."), SEED),
    ("superb probe", "--save"): (
        ("superb", "probe", "no-model", "ks", "."),
        ("folder.json", "binary", "taken.json/x.json"),
    ),
    ("superb probe", "--features"): (PROBE, ("", "all", "Sum", "project")),
    ("superb probe", "--device"): (PROBE, ("", "cuda:77", "gpu", "tpu")),
    ("superb probe", "--lexicon"): (PROBE, ("nothing.txt",)),
    ("superb probe", "--noise"): (PROBE, ("nothing", "")),
    ("superb probe", "--rirs"): (PROBE, ("nothing", "")),
    ("superb probe", "--snr"): (PROBE, ("nan", "inf", "abc")),
    ("superb probe", "--rt60"): (PROBE, ("0", "-1", "nan", "inf", "abc")),
    ("doctor data", "--min-seconds"): (("doctor", "data", "folder.json"), ("-1", "nan", "inf", "abc")),
    ("doctor data", "--max-seconds"): (("doctor", "data", "folder.json"), ("-1", "nan", "inf", "abc")),
    ("doctor data", "--listed"): (("doctor", "data", "folder.json"), ("-1", "1.5", "abc")),
}
"""(command, option) -> its other arguments, and values that are refused before a model is looked for."""
NOT_CHECKED_FIRST = {
    ("transcribe", "--lm"),
    ("evaluate", "--lm"),
    ("evaluate", "--target"),
    ("export", "--data"),
    ("export", "--target"),
    ("export", "--trials"),
    ("evaluate", "--trials"),
    ("superb probe", "--target"),
    ("report", "--baseline"),
    ("push", "--message"),
    ("init", "--model"),
    ("init", "--data"),
    ("init", "--target"),
}
"""What only a model or a corpus tells, or any text; each has tests of its own."""


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    prune_ssl.save_pretrained(tiny_model(), folder)
    return folder


@pytest.fixture
def place(tmp_path, tiny_folder, monkeypatch):
    """A working folder with things that are in the way."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "taken.json").write_text("[1]")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years")
    (tmp_path / "binary").write_bytes(bytes(range(128, 256)))
    (tmp_path / "tiny").symlink_to(tiny_folder)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


def refused(*arguments, status=2):
    """Run a command that must end in one line, and return the line."""
    began = time.process_time()
    result = CliRunner().invoke(app, list(arguments))
    taken = time.process_time() - began
    assert result.exit_code == status, (arguments, result.output, result.exception)
    assert isinstance(result.exception, SystemExit), result.exception
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.output
    assert lines[0].startswith("error: ")
    assert taken < 20  # of the processor: less than any work takes, on a slow machine too
    return lines[0]


CASES = [(key, before, value) for key, (before, values) in WRONG.items() for value in values]


@pytest.mark.parametrize(("key", "before", "value"), CASES, ids=lambda each: repr(each)[:40])
def test_a_wrong_value_of_an_option_is_one_line_before_any_work(key, before, value, place):
    there = contents(place)
    line = refused(*before, f"{key[1]}={value}")
    assert "no-model" not in line.replace("prune-ssl", ""), "the model was looked for first"
    assert contents(place) == there


def options():
    found = set()

    def walk(command, path):
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, (*path, name))
        for each in command.params:
            if each.param_type_name == "option" and not getattr(each, "is_flag", False):
                found.add((" ".join(path), each.opts[0]))

    walk(typer.main.get_command(app), ())
    return found


def test_every_option_that_takes_a_value_is_in_the_table():
    assert options() == set(WRONG) | NOT_CHECKED_FIRST


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "nothing.yaml"), "there is no such file"),
        (("run", "folder.json"), "it is a folder"),
        (("run", "binary"), "not UTF-8 text"),
        (("run", "taken.json"), "is a list; wanted a recipe"),
        (("run", "ks_digits_hj_mak"), "Did you mean ks_digits_hj_mac?"),
        (("run", "recipes/ks_digits_hj_mac.yaml"), "Did you mean ks_digits_hj_mac?"),
        (("run", ""), "cannot read the recipe ''"),
        (("run", "x" * 5_000), "there is no such file"),
        (("run", "a\0b"), "there is no such file"),
        (("run", RECIPE, "budget=macs=40%"), "did you mean pruning.budget=macs=40%?"),
        (("run", RECIPE, "steps=40"), "did you mean dense.steps=40 or pruning.steps=40?"),
        (("run", RECIPE, "bugdet=macs=40%"), "did you mean pruning.budget=macs=40%?"),
        (("run", RECIPE, "pruning.batchsize=4"), "did you mean batch_size=4?"),
        (("run", RECIPE, "sed=4"), "did you mean 'seed'?"),
        (("run", RECIPE, "pruning.budget=0.5"), "did you mean macs=50%?"),
        (("run", RECIPE, "batch_size"), "wanted key.sub=value, as in batch_size=..."),
        (("sweep", RECIPE, "--budgets", "0.5"), "did you mean macs=50%?"),
        (("sweep", RECIPE, "--budgets", "25M"), "did you mean params=25M or macs=25M?"),
        (("sweep", RECIPE, "--methods", "iterative/tailor"), "did you mean 'iterative/taylor'?"),
        (("prune", "no-model", "out", "--budget", "50%"), "did you mean macs=50%?"),
        (
            ("prune", "no-model", "out", "--budget", "macs=50%", "--criterion", "magnitud"),
            "did you mean 'magnitude'?",
        ),
        (("prune", "no-model", "full", "--budget", "macs=50%"), "full exists already"),
        (("prune", "no-model", "taken.json", "--budget", "macs=50%"), "taken.json exists already"),
        (("prune", "no-model", "taken.json/out", "--budget", "macs=50%"), "taken.json"),
        (("trace", "tiny", "--ignore", "layers.0.ffn"), "similar ones: layer.0.ffn"),
        (("trace", "tiny", "--only", "conv"), "similar ones: conv.0"),
        (("report", "tiny", "--save", "a.md", "--save", "a.md"), "given twice"),
        (("superb", "probe", "no-model", "kss", "."), "did you mean 'ks'?"),
        (("superb", "probe", "no-model", "ks", "taken.json"), "is not a folder"),
        (("recipes", "taken.json"), "wanted a folder of recipes"),
        (("recipes", "full"), "found no recipe (*.yaml)"),
        (("tarce",), "Did you mean"),
        (("trace",), "Missing argument"),
        (("trace", "tiny", "--sedonds", "3"), "No such option"),
    ],
    ids=lambda each: " ".join(each)[:60] if isinstance(each, tuple) else "",
)
def test_what_was_meant_is_named(arguments, words, place):
    there = contents(place)
    assert words in refused(*arguments)
    assert contents(place) == there


def test_a_table_without_a_row_is_an_error(place):
    assert "nothing was measured" in refused("bench", "arch:nothing")
    assert "nothing was measured" in refused("bench", "arch:nothing", "arch:also", "--save", "rows.csv")
    assert not (place / "rows.csv").exists()


def test_a_benchmark_of_which_a_part_failed_says_so_in_its_status(place, monkeypatch):
    from prune_ssl.measuring import BenchRow

    rows = [BenchRow("a"), BenchRow("b", problem="gone")]
    monkeypatch.setattr("prune_ssl.measuring.benchmark_models", lambda *_, **__: rows)
    result = CliRunner().invoke(app, ["bench", "a", "b", "--save", "rows.json"])
    assert result.exit_code == 1
    assert "gone" in result.output
    assert (place / "rows.json").is_file()


@pytest.mark.slow
def test_a_dry_run_looks_at_all_but_the_output_folder(place, tmp_path):
    recipe = CliRunner().invoke(app, ["recipes", "--copy", RECIPE])
    assert recipe.exit_code == 0
    for output in ("full", "taken.json"):
        result = CliRunner().invoke(
            app, ["run", f"{RECIPE}.yaml", "smoke=true", f"output={output}", "--dry-run"]
        )
        assert result.exit_code == 0, result.output
        assert "Budget macs=50%: keep at most" in result.output
        assert f"note: {output} exists already" in result.output
    assert (place / "full" / "thesis.txt").read_text() == "years"


def test_recipes_of_the_package_are_listed_copied_and_run_by_name(place):
    listed = CliRunner().invoke(app, ["recipes"])
    assert listed.exit_code == 0
    assert all(f"`{name}.yaml`" in listed.output for name in shipped_names())
    assert len(shipped_names()) >= 20
    assert CliRunner().invoke(app, ["recipes", "--copy", RECIPE]).exit_code == 0
    assert (place / f"{RECIPE}.yaml").read_text().startswith("#")
    assert "exists already, so nothing was written" in refused("recipes", "--copy", RECIPE)
    planned = CliRunner().invoke(app, ["run", RECIPE, "--architecture"])
    assert planned.exit_code == 0
    assert "Budget macs=50%" in planned.output


def test_the_version_is_printed():
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"prune-ssl {prune_ssl.__version__}\n")


# -- how the program ends


def start(*arguments, **settings):
    environment = os.environ | {
        "PYTHONPATH": str(Path(prune_ssl.__file__).parents[1]),
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-m", "prune_ssl", *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings
    )


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_reader_that_has_had_enough_is_no_traceback(more, tiny_folder):
    process = start("trace", str(tiny_folder), *more)
    process.stdout.close()
    assert process.wait(120) in (1, -signal.SIGPIPE)
    assert [line for line in process.stderr.read().splitlines() if not line.startswith("head: ")] == []
    process.stderr.close()


def test_ctrl_c_is_one_true_line(monkeypatch, place):
    def interrupted(*_args, **_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("prune_ssl.cli.trace.load_and_say", interrupted)
    result = CliRunner().invoke(app, ["trace", "tiny"])
    assert (result.exit_code, result.stderr) == (130, "stopped before it was done.\n")
