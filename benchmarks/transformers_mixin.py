"""Run transformers' own common model tests over the stock and the pruned classes, and compare what fails.

    pip install parameterized
    pip download --no-deps --no-binary transformers transformers==$(python -c \\
        'import transformers; print(transformers.__version__)')
    tar xzf transformers-*.tar.gz
    python benchmarks/transformers_mixin.py transformers-*/                     # every family
    python benchmarks/transformers_mixin.py transformers-*/ --family wavlm --test test_attention_outputs

The tests come from the unpacked source distribution of the version that is installed. What the stock classes
of a family fail with these tiny configs (embeddings that a speech model has not, features that other tests of
the family switch off) the pruned ones may fail too; the exit status is 1 when they fail anything else.
"""

import argparse
import importlib
import io
import re
import sys
import types
import unittest
import warnings
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto import modeling_auto

from prune_ssl import resize, trace
from prune_ssl.models.pruned import PRUNED_CLASSES
from prune_ssl.models.registry import FAMILIES, backbone_of

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.models import HEADS as HEADS_OF
from tests.support.models import batch, tiny_model

# Parts of the test suite that the source distribution leaves out; no speech encoder has them.
LEFT_OUT = {
    "exporters.test_export": "ExportTesterMixin",
    "generation.test_utils": "GenerationTesterMixin",
}

NEVER_ENDS = ("test_training_gradient_checkpointing_use_reentrant_true",)  # of the stock WavLM, on a CPU


def common_tests(source: Path) -> Any:
    """Import tests/test_modeling_common.py of an unpacked source distribution."""
    if not (source / "tests" / "test_modeling_common.py").is_file():
        raise SystemExit(f"{source} holds no tests/test_modeling_common.py: unpack the source distribution.")
    package = types.ModuleType("transformers_tests")
    package.__path__ = [str(source / "tests")]
    sys.modules["transformers_tests"] = package
    for path, mixin in LEFT_OUT.items():
        parent, _, _ = path.partition(".")
        for name in (parent, path):
            module = types.ModuleType(f"transformers_tests.{name}")
            module.__path__ = []
            sys.modules.setdefault(module.__name__, module)
        setattr(sys.modules[f"transformers_tests.{path}"], mixin, type(mixin, (), {}))
    _name_pruned_classes()
    return importlib.import_module("transformers_tests.test_modeling_common")


def _name_pruned_classes() -> None:
    """Enter the pruned classes where the tests look up what a class is for by its name."""
    names = {
        stock.__name__: (made.config_class.model_type, made.__name__)
        for stock, made in PRUNED_CLASSES.items()
    }
    for table in vars(modeling_auto).values():
        if type(table) in (dict, OrderedDict):  # not those that import classes as they are read
            for value in [each for each in table.values() if isinstance(each, str) and each in names]:
                kind, name = names[value]
                table[kind] = name


class Tester:
    """What the common tests ask for: a config, inputs, and the sizes that outputs must have."""

    batch_size, is_training, samples = 3, True, 8000

    def __init__(self, case: unittest.TestCase, config: Any, bare: Any) -> None:
        self.parent, self.config, self.bare = case, config, bare
        with torch.no_grad():
            frames = bare(**batch(bare, self.samples, rows=1)).last_hidden_state.shape[1]
        self.seq_length = self.encoder_seq_length = self.key_length = self.output_seq_length = frames
        self.hidden_size = config.hidden_size
        self.num_hidden_layers, self.num_attention_heads = (
            config.num_hidden_layers,
            config.num_attention_heads,
        )

    def get_config(self) -> Any:
        return self.config

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, torch.Tensor]]:
        """Return a copy of the config and a batch without padding."""
        inputs = batch(self.bare, self.samples, rows=self.batch_size)
        name = self.bare.main_input_name
        inputs["attention_mask"] = torch.ones(inputs[name].shape[:2], dtype=torch.long)
        return type(self.config).from_dict(self.config.to_dict()), inputs


def pruned_bare(family: str) -> Any:
    """Return a tiny bare model: a layer of fewer heads and neurons, one without heads, one that is gone."""
    model = tiny_model(family, "Model", num_hidden_layers=4)
    graph = trace(model)
    ffn = next(name for name in graph.groups if name.startswith("layer.1.ffn"))
    keep = {"layer.1.heads": [0, 2], ffn: [1, 3, 5], "layer.2.heads": [], "layer.3": []}
    if "conv.0" in graph.groups:
        keep["conv.0"] = list(range(6))
    return resize(model, graph, keep)


def case_of(common: Any, family: str, pruned: bool) -> type[unittest.TestCase]:
    """Return the test case of one family, stock or pruned."""
    stem = FAMILIES[family].stock("bare").__name__.removesuffix("Model")
    known = [suffix for suffix in HEADS_OF[family] if hasattr(transformers, stem + suffix)]
    names = [name.removeprefix(stem) for name, _ in FAMILIES[family].classes.models]
    suffixes = [suffix for suffix in names if suffix in known]
    classes = [getattr(transformers, stem + suffix) for suffix in suffixes]
    bare = pruned_bare(family) if pruned else tiny_model(family, "Model", num_hidden_layers=4)
    backbone_of(bare)

    def set_up(self: Any) -> None:
        torch.manual_seed(0)
        self.model_tester = Tester(self, bare.config, bare)

    body = {
        "all_model_classes": tuple(PRUNED_CLASSES[each] for each in classes) if pruned else tuple(classes),
        "setUp": set_up,
        "test_resize_embeddings": False,
        "has_attentions": True,
        "__module__": __name__,
    }
    name = f"{'Pruned' if pruned else 'Stock'}{stem}Test"
    made: type[unittest.TestCase] = type(name, (common.ModelTesterMixin, unittest.TestCase), body)
    return made


def failures(case: type[unittest.TestCase], only: Iterable[str]) -> tuple[dict[str, str], int]:
    """Return test -> last line of its traceback for what failed, and how many tests ran (not skipped)."""
    suite = unittest.TestSuite()
    for name in unittest.defaultTestLoader.getTestCaseNames(case):
        if name not in NEVER_ENDS and (not list(only) or any(part in name for part in only)):
            suite.addTest(case(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = unittest.TextTestRunner(stream=io.StringIO(), verbosity=0).run(suite)
    found: dict[str, str] = {}
    for test, text in [*result.failures, *result.errors]:
        name = str(test.id()).partition(f"{case.__name__}.")[2].replace("Pruned", "")  # with its sub-test
        name = re.sub(r"<class '[\w.]+\.(\w+)'>", r"\1", name)
        found[name] = text.strip().splitlines()[-1]
    return found, result.testsRun - len(result.skipped)


def main() -> int:
    """Print what each class fails; 1 when a pruned class fails what the stock class passes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="unpacked source distribution of transformers")
    parser.add_argument("--family", action="append", choices=list(HEADS_OF), help="repeatable (default: all)")
    parser.add_argument("--test", action="append", default=[], help="only tests whose name holds this")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    common, more = common_tests(arguments.source), 0
    for family in arguments.family or [name for name in HEADS_OF if FAMILIES[name].classes]:
        stock, ran = failures(case_of(common, family, pruned=False), arguments.test)
        pruned, also_ran = failures(case_of(common, family, pruned=True), arguments.test)
        new = sorted(pruned.keys() - stock.keys())
        more += len(new)
        print(
            f"{family}: stock {ran} run, {len(stock)} failed; pruned {also_ran} run, {len(pruned)} failed, "
            f"{len(new)} of them new",
            flush=True,
        )
        print(f"    both: {', '.join(sorted(stock.keys() & pruned.keys())) or '-'}")
        for name in sorted(stock.keys() - pruned.keys()):
            print(f"    stock only: {name}: {stock[name]}")
        for name in new:
            print(f"    PRUNED ONLY: {name}: {pruned[name]}")
    return 1 if more else 0


if __name__ == "__main__":
    raise SystemExit(main())
