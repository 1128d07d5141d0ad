"""benchmarks/gpu.py runs all its checks, whatever one of them does, with and without a GPU."""

import json
from collections.abc import Sequence
from pathlib import Path

import gpu
import pytest
from gpu_checks.setting import NotHere, Outcome, Setting

from tests.pretended.machine import pretended_machine


def failing(_setting: Setting) -> Outcome:
    return Outcome(False, {"figure": 2.0})


def breaking(_setting: Setting) -> Outcome:
    raise RuntimeError("no kernel image")


def absent(_setting: Setting) -> Outcome:
    raise NotHere("one GPU")


def passing(setting: Setting) -> Outcome:
    return Outcome(True, {"device": setting.device})


def run(folder: Path, arguments: Sequence[str]) -> tuple[int, dict[str, dict[str, object]]]:
    out = folder / "gpu.json"
    failed = gpu.main([*arguments, "--tiny", "--out", str(out)])
    return failed, json.loads(out.read_text())


def test_no_check_stops_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    checks = {"a": failing, "b": breaking, "c": absent, "d": passing}
    monkeypatch.setattr(gpu, "CHECKS", checks)
    failed, found = run(tmp_path, ["--device", "cpu"])
    assert failed == 2
    assert [each["result"] for each in found.values()] == ["FAIL", "FAIL", "SKIPPED", "PASS"]
    assert found["b"]["error"] == "RuntimeError: no kernel image"
    assert found["a"]["figures"] == {"figure": 2.0}


@pytest.mark.slow
def test_every_check_runs_on_a_cpu(tmp_path: Path) -> None:
    failed, found = run(tmp_path, ["--device", "cpu"])
    assert not failed, found
    assert [name for name, each in found.items() if each["result"] == "PASS"] == [
        "facts",
        "exactness",
        "ranks",
        "times",
        "teachers",
        "crossing",
        "several GPUs",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ranks", "crossing"])
def test_checks_run_on_a_pretended_gpu(name: str, tmp_path: Path) -> None:
    with pretended_machine():
        failed, found = run(tmp_path, ["--device", "cuda", "--only", name])
    assert found[name]["result"] == "PASS", found
    assert not failed
