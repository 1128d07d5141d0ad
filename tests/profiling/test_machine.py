"""What identifies a machine, and settings of a process that come back after timing."""

import os
from pathlib import Path

import pytest
import torch

from prune_ssl.profiling import machine
from prune_ssl.profiling.machine import cpu_model, machine_facts, steady_heap, thread_count, usable_cores


def test_the_name_of_the_processor_is_read_or_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nModel name\t: Fast One @ 3: GHz\nmodel name : other\n")
    monkeypatch.setattr(machine, "_CPU_INFO", info)
    assert cpu_model() == "Fast One @ 3: GHz"
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "riscv64")
    for text in ("processor : 0\n", None):
        if text is None:
            info.unlink()
        else:
            info.write_text(text)
        assert cpu_model() == "riscv64"


def test_usable_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 7}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


def test_facts_name_what_times_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = machine_facts("cpu")
    assert set(facts) == {"node", "cpu", "isa", "torch", "transformers"}
    assert all(isinstance(value, str) for value in facts.values())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card")
    assert machine_facts("cuda") == facts | {"accelerator": "Card"}


def test_the_number_of_threads_comes_back_after_an_error_too() -> None:
    before = torch.get_num_threads()
    with thread_count(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(KeyError), thread_count(before + 1):
        raise KeyError
    assert torch.get_num_threads() == before


class Library:
    """A libc that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def mallopt(self, name: int, value: int) -> None:
        self.told.append((name, value))

    def malloc_trim(self, pad: int) -> None:
        self.told.append("trim")


def test_freed_memory_is_kept_for_the_duration_and_then_handed_back(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(machine.platform, "system", lambda: "Linux")
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: library)
    with pytest.raises(ZeroDivisionError), steady_heap():
        assert 1 / (dict(library.told) != machine._KEEP_ALL)
    del library.told[: len(machine._KEEP_ALL)]
    assert library.told[-1] == "trim"
    assert dict(library.told[:-1]) == machine._AS_BEFORE
    assert set(machine._KEEP_ALL) <= set(machine._AS_BEFORE)


@pytest.mark.parametrize("system", ["Darwin", "Linux"])
def test_without_glibc_nothing_is_changed(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr(machine.platform, "system", lambda: system)
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: object())
    with steady_heap():
        pass
