"""Help, wrong use and `import prune_ssl` load next to nothing; a fresh process counts its modules."""

import ast
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import transformers

import prune_ssl
from prune_ssl.models import FAMILIES
from prune_ssl.models.xvector import XVECTOR_CLASSES
from prune_ssl.on_import import MODEL_TYPES, XVECTORS
from tests.support.slow import slow_but

ROOT = Path(prune_ssl.__file__).parent
HEAVY = ("torch", "transformers", "torchaudio", "datasets", "matplotlib", "evaluate", "accelerate")


def loaded(code: str) -> set[str]:
    """Return the modules that a fresh process has after a piece of code."""
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def command(*lines: str) -> str:
    """Return code that runs command lines one after another, each to its end."""
    return f"""
from prune_ssl.cli.app import main
for line in {lines!r}:
    sys.argv = ["prune-ssl", *line.split()]
    try:
        main()
    except SystemExit:
        pass
"""


def test_help_version_and_wrong_use_load_neither_torch_nor_transformers() -> None:
    wrong = ("rnu", "run --dry", "prune a b --budgt macs=50%", "trace", "bench m --threads none")
    commands = {path.stem for path in (ROOT / "cli").glob("*.py")} & {"trace", "prune", "run", "evaluate"}
    helps = (f"{name} --help" for name in (*sorted(commands), "superb probe", "doctor data", "verify"))
    found = loaded(command("", "--help", "--version", *helps, *wrong))
    assert "prune_ssl.cli.app" in found
    assert found.isdisjoint(HEAVY)


def test_the_package_itself_loads_no_model() -> None:
    found = loaded("import prune_ssl\nassert 'trace' in dir(prune_ssl)")
    assert found.isdisjoint(HEAVY)
    assert len({name for name in found if name.startswith("prune_ssl.")}) < 5


@pytest.mark.parametrize("room", ["", *sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))])
def test_lazy_names_are_those_that_a_type_checker_sees(room: str) -> None:
    file = ROOT / room / "__init__.py"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    seen = {
        (node.module, alias.name)
        for branch in tree.body
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    given = {
        (ast.literal_eval(module), name)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "lazily"
        for module, names in zip(call.args[1].keys, call.args[1].values, strict=True)
        for name in ast.literal_eval(names).split()
    }
    assert given == seen
    package = import_module(f"prune_ssl.{room}".rstrip("."))
    for name in getattr(package, "__all__", ()):
        assert getattr(package, name) is not None
        assert name in dir(package)


def test_a_name_that_is_nowhere_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'prune_ssl' has no attribute 'trac'"):
        prune_ssl.trac  # noqa: B018


def test_the_deferred_classes_are_those_of_the_table() -> None:
    assert set(MODEL_TYPES) == {name for name, family in FAMILIES.items() if family.classes}
    assert {cls.config_class.model_type: name for name, cls in XVECTOR_CLASSES.items()} == XVECTORS


TINY = {
    **{"num_hidden_layers": 1, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2},
    **{"num_conv_pos_embedding_groups": 2, "conv_dim": (4,), "conv_kernel": (4,), "conv_stride": (4,)},
}
AUTO = """
import pickle
import prune_ssl
from transformers import {before}
assert "prune_ssl.models" not in sys.modules
from transformers import AutoConfig, AutoModel, AutoModelForAudioXVector, HubertConfig
assert "prune_ssl.models" not in sys.modules
head = AutoModelForAudioXVector.from_config(HubertConfig(**{tiny}))
assert type(head).__name__ == "HubertForXVector"
assert type(AutoConfig.for_model("pruned_sew-d")).__name__ == "PrunedSEWDConfig"
model = AutoModel.from_pretrained({folder!r})
assert type(model).__name__ == "PrunedHubertModel"
assert type(pickle.loads(pickle.dumps(model.config))) is type(model.config)
"""


@pytest.fixture(scope="module")
def pruned_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = transformers.HubertModel(transformers.HubertConfig(**TINY)).eval()
    small = prune_ssl.resize(model, prune_ssl.trace(model), {"layer.0.ffn": [1]})
    return prune_ssl.save_pretrained(small, tmp_path_factory.mktemp("pruned") / "small")


@pytest.mark.parametrize(
    "before", slow_but(["HubertModel"], ["HubertModel", "Trainer", "AutoFeatureExtractor"])
)
def test_auto_classes_know_our_models_as_soon_as_the_package_is_imported(before, pruned_folder) -> None:
    """`before` is imported first, such as a file of a model, which imports the Auto classes half-way."""
    loaded(AUTO.format(before=before, tiny=TINY, folder=str(pruned_folder)))


@pytest.mark.slow
def test_a_trace_loads_no_data_no_plots_and_no_trainer(pruned_folder: Path) -> None:
    found = loaded(command(f"trace {pruned_folder} --json"))
    assert "torch_pruning" in found
    assert found.isdisjoint({"datasets", "matplotlib", "evaluate", "pandas", "transformers.trainer"})
