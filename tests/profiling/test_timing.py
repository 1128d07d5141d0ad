"""Timing models in turns: what is measured, on which machine, and what stays as it was."""

import os
import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from prune_ssl.errors import MeasuringError, ModelError
from prune_ssl.measuring import Latency, Timing, measure, measure_interleaved, speed_up
from prune_ssl.profiling import timing
from prune_ssl.profiling.timing import _load as real_load
from tests.support.models import tiny_model


def test_the_load_is_that_of_the_machine_over_cores_and_threads(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (12.0, 0.0, 0.0))
    monkeypatch.setattr(timing, "usable_cores", lambda: 3)
    assert real_load(1) == 3.0


class Clocks:
    """Clocks of a machine whose core other programs take now and then: only calls make time pass."""

    def __init__(self, seed: int, share: float, pause: float) -> None:
        self.rng, self.share, self.pause = random.Random(seed), share, pause
        self.wall = self.processor = 0.0

    def perf_counter(self) -> float:
        return self.wall

    def process_time(self) -> float:
        return self.processor

    def work(self, seconds: float) -> None:
        taken = seconds * abs(self.rng.gauss(1, 0.02))
        self.processor += taken
        self.wall += taken + (self.rng.expovariate(1 / self.pause) if self.rng.random() < self.share else 0.0)


class Work(nn.Module):
    """Takes its time, on clocks of its own."""

    def __init__(self, clocks: Clocks, seconds: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.clocks, self.seconds = clocks, seconds

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        self.clocks.work(self.seconds)
        return waveform


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_beside_busy_processes_nothing_false_is_claimed(
    monkeypatch: pytest.MonkeyPatch, share: float, seed: int
) -> None:
    clocks = Clocks(seed, share, pause=0.02)
    monkeypatch.setattr(timing, "time", clocks)
    found = measure_interleaved(
        {"dense": Work(clocks, 0.004), "small": Work(clocks, 0.002)},
        Timing(seconds=0.1, threads=1, min_iterations=30, min_seconds=0.3),
    )
    (dense,), (small,) = found.values()
    speed = speed_up(dense, small)
    assert speed.within_noise or speed.low <= 2 <= speed.high
    assert speed.within_noise == (share > 0)  # which costs a wait in each tenth call at least
    assert dense.processor_ms / small.processor_ms == pytest.approx(2, abs=0.1)  # waiting changes it not
    assert dense.n >= 30


QUICK = Timing(seconds=0.1, threads=1, min_iterations=3, min_seconds=0.0)


class Recorder(nn.Module):
    """Writes its name into a shared list at each call, and notes mode, gradients, threads and input."""

    def __init__(self, name: str, calls: list[str]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.name, self.calls = name, calls
        self.seen: list[tuple[bool, bool, int, tuple[int, ...]]] = []

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        self.calls.append(self.name)
        modes = (self.training, torch.is_inference_mode_enabled(), torch.get_num_threads())
        self.seen.append((*modes, tuple(waveform.shape)))
        return waveform * self.weight


def latency(median: float, spread: float = 0.0, n: int = 50, repeats: tuple[float, ...] = ()) -> Latency:
    return Latency(median, median - spread, median + spread, n, threads=1, seconds=2.0, repeats_ms=repeats)


def test_rtf_is_compute_time_over_audio_time_and_rtfx_its_inverse() -> None:
    assert latency(500.0).rtf == 0.25
    assert latency(500.0).rtfx == 4.0


def test_models_are_timed_in_turns_in_eval_and_inference_mode_on_the_same_input() -> None:
    calls: list[str] = []
    models = {name: Recorder(name, calls) for name in "ab"}
    before = torch.get_num_threads()
    timing = Timing(seconds=0.5, threads=2, min_iterations=4, min_seconds=0.0)
    found = measure_interleaved(models, timing)
    assert "".join(calls[-8:]) == "abbaabba"
    assert [each.n for each in found["a"] + found["b"]] == [4, 4]
    for model in models.values():
        assert {seen[0] for seen in model.seen} == {False}
        assert {seen[1] for seen in model.seen} == {True}
        assert model.seen[-1][2:] == (2, (1, 8000))
    assert torch.get_num_threads() == before


def test_every_length_and_thread_count_is_measured_once() -> None:
    timing = replace(QUICK, seconds=[0.1, 0.2], threads=[1, 2])
    found = measure_interleaved({"a": Recorder("a", [])}, timing)["a"]
    assert [(each.seconds, each.threads) for each in found] == [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]
    for each in found:
        assert each.p10_ms <= each.median_ms <= each.p90_ms
        assert len(each.repeats_ms) == 3


def test_a_slow_model_stops_at_the_time_limit_and_says_so() -> None:
    timing = replace(QUICK, min_iterations=10**9, max_seconds=0.02)
    found = measure_interleaved({"a": Recorder("a", [])}, timing)
    assert 1 <= found["a"][0].n < 10**9


def test_measuring_leaves_modes_of_submodules_weights_and_random_state_as_they_were() -> None:
    model = tiny_model().train()
    model.hubert.feature_extractor.eval()  # a frozen frontend inside a model in training
    modes = {name: module.training for name, module in model.named_modules()}
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    random_state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    measure(model, timing=replace(QUICK, threads=2))
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert torch.get_num_threads() == threads


def test_a_model_that_fails_is_named_with_the_shape_and_its_modes_come_back() -> None:
    model = nn.Linear(3, 3).train()
    with pytest.raises(
        ModelError, match=r"'odd' \(Linear\) failed on a waveform of shape \(1, 8000\) \(0\.5 s"
    ):
        measure_interleaved({"odd": model}, replace(QUICK, seconds=0.5))
    assert model.training


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *(("seconds", each) for each in ([], -1.0, 0, float("nan"), "10", None, [1.0, 0.0])),
        *(("threads", each) for each in (0, [], [1, 0], 1.5, "1", True)),
        *(("min_iterations", each) for each in (0, 2.5, None)),
        *(("min_seconds", each) for each in (-1.0, float("inf"))),
        *(("max_seconds", each) for each in (0.0, -1.0)),
    ],
    ids=str,
)
def test_senseless_timings_are_refused_when_made(name: str, given: object) -> None:
    with pytest.raises(MeasuringError, match=rf"^{name}: found .*, wanted ") as caught:
        Timing(**{name: given})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_models_of_different_dtypes_are_not_timed_against_each_other() -> None:
    models = {"dense": tiny_model(), "pruned": tiny_model().bfloat16()}
    with pytest.raises(ModelError, match=r"dense: cpu, torch.float32; pruned: cpu, torch.bfloat16"):
        measure_interleaved(models, QUICK)
