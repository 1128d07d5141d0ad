"""The table of export targets, and names that are none."""

import pytest

from prune_ssl.errors import ExportError
from prune_ssl.exporting import TARGETS
from prune_ssl.exporting.targets import EXACT, OF_INT8, target_named
from prune_ssl.runtimes import registry


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_says_its_file_and_how_near_it_comes(name: str) -> None:
    target = TARGETS[name]
    assert target.name == name
    assert target.file.startswith(("model.", "openvino_model."))
    assert target.tolerance == (OF_INT8 if name.endswith("int8") else EXACT)
    assert bool(target.packages) == bool(target.extra)  # what must be installed, an extra installs


def test_targets_without_packages_are_always_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    assert target_named("pt2") is TARGETS["pt2"]
    for name in ("onnx", "onnx-int8", "sherpa-onnx", "openvino"):
        with pytest.raises(ExportError, match=r"lacks: pip install 'prune_ssl\[\w+\]'\.$"):
            target_named(name)


def test_only_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ExportError, match="export to onnx needs onnxscript, which this environment lacks"):
        target_named("onnx")


@pytest.mark.parametrize(
    ("name", "words"),
    [("onxx", "Did you mean 'onnx'"), ("", "wanted one of onnx,"), ("tensorrt-llm", "torchscript")],
)
def test_a_name_that_is_none_is_refused_with_the_nearest(name: str, words: str) -> None:
    with pytest.raises(ExportError, match=words):
        target_named(name)
