"""The table of runtimes: each says what it needs, and a name that is none is refused with the nearest."""

import pytest

from prune_ssl.errors import BudgetError
from prune_ssl.runtimes import RUNTIMES, registry, require_runtime
from prune_ssl.runtimes.conversion import WRITERS
from prune_ssl.runtimes.registry import EXPORTED, runtime_named
from prune_ssl.runtimes.sessions import OPENERS


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_runtime_says_what_it_needs(name: str) -> None:
    runtime = RUNTIMES[name]
    assert runtime.name == name
    assert runtime.about
    assert runtime.devices
    assert bool(runtime.packages) == bool(runtime.extra) == bool(runtime.graph)
    if runtime.graph:
        assert runtime.graph in WRITERS
        assert runtime.graph in OPENERS
        assert runtime.parts == "alone"
    assert (name in EXPORTED) == bool(runtime.graph)


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None if name == "onnxruntime" else object())
    words = (
        r"runtime onnx-int8 needs onnxruntime, which this environment lacks: pip install 'prune_ssl\[onnx\]'"
    )
    with pytest.raises(BudgetError, match=words):
        require_runtime("onnx-int8")
    assert require_runtime("openvino") is RUNTIMES["openvino"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("onnx-int", "did you mean 'onnx-int8'"), ("tensorrt", "wanted one of eager, bfloat16")],
)
def test_a_name_that_is_none_is_refused_with_the_nearest(name: str, words: str) -> None:
    with pytest.raises(BudgetError, match=words):
        runtime_named(name)
