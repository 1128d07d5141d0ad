"""Fixtures of more than one room, and how hypothesis draws."""

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.support")

from prune_ssl.profiling import timing  # noqa: E402
from tests.support.recipes import TINY_CONFIG  # noqa: E402  (after the line that has its asserts explained)

settings.register_profile(
    "default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=False
)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _quiet_machine(tmp_path_factory):
    """Neither the load of this machine nor the tables that its user has measured change what a test finds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_SSL_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(timing, "_load", lambda threads: 0.5)
        yield


DRAWS_NOTHING = ("pipeline", "recipes", "sweeping", "tasks")
"""Rooms that run recipes, and do not look at the pictures in the reports of the runs."""


@pytest.fixture(scope="module", autouse=True)
def _blank_pictures(request):
    """Drawing is a third of the time of a tiny run. tests/reporting and tests/cli draw."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name in DRAWS_NOTHING:
            patch.setattr("prune_ssl.reporting.plots.draw", lambda *_, **__: "<svg></svg>")
        yield


@pytest.fixture
def corpus(tmp_path):
    """Two classes of tones in an audiofolder layout, one clip stereo and one at 8 kHz."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("validation", 4), ("test", 4)):
        folder = tmp_path / "corpus" / split
        folder.mkdir(parents=True)
        rows = ["file_name,label"]
        for index in range(count):
            label = "high" if index % 2 else "low"
            rate = 8000 if (split, index) == ("train", 0) else 16_000
            time = np.arange(rate // 4) / rate
            wave = np.sin(2 * np.pi * (1500 if index % 2 else 300) * time) * 0.3
            wave = wave + 0.01 * generator.standard_normal(len(wave))
            if (split, index) == ("train", 1):
                wave = np.stack([wave, wave], 1)
            soundfile.write(folder / f"{index}.wav", wave, rate)
            rows.append(f"{index}.wav,{label}")
        (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "corpus"


@pytest.fixture
def recipe(tmp_path, corpus):
    path = tmp_path / "tiny.yaml"
    path.write_text(
        f"name: tiny\nmodel:\n  family: hubert\n  config: {TINY_CONFIG}\ndata:\n  path: {corpus}\n"
        "dense: {steps: 2, learning_rate: 1.0e-3}\n"
        "pruning: {budget: 'macs=70%', steps: 3, learning_rate: 1.0e-3, recovery: 1.0, "
        "seconds: 1.0, round_to: 2}\n"
        "report: {seconds: [0.5], iterations: 3, min_seconds: 0}\n"
        f"batch_size: 4\noutput: {tmp_path}/out\n"
    )
    return path


@pytest.fixture
def without_bfloat16(monkeypatch):
    """A machine that cannot train in bfloat16, whatever this one is."""
    monkeypatch.setattr("transformers.training_args.is_torch_bf16_gpu_available", lambda: False)
    monkeypatch.setattr("transformers.training_args.is_torch_xla_available", lambda: False)
