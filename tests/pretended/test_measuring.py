"""Reports and measurements of models on a GPU."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from prune_ssl.measuring.memory import peak_memory_bytes
from prune_ssl.pipeline import handing_over
from prune_ssl.pipeline.handing_over import hand_over
from prune_ssl.reporting.assembly import beside
from tests.pretended.device import PretendedDevice


def test_a_run_measures_both_models_on_the_cpu_though_the_dense_one_taught_on_a_gpu(
    gpu: PretendedDevice, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small, dense = nn.Linear(2, 1).to("cuda"), nn.Linear(2, 2).to("cuda")
    found: list[str] = []

    def report(
        recipe: object, made: SimpleNamespace, dense: SimpleNamespace, *more: object
    ) -> SimpleNamespace:
        found.extend(next(each.model.parameters()).device.type for each in (made, dense))
        return SimpleNamespace(save=lambda path: None, data=None)

    for name, value in {
        "_report": report,
        "set_masking_": lambda *each: None,
        "save_pretrained": lambda *each, **more: None,
        "write_text": lambda *each: None,
        "model_card": lambda *each: "",
        "_provenance": lambda *each: None,
        "on_first": lambda act: act(),
    }.items():
        monkeypatch.setattr(handing_over, name, value)
    ready = SimpleNamespace(
        spec_augment=None, extractor=None, task=SimpleNamespace(processor=lambda extractor: None)
    )
    recipe = SimpleNamespace(folder=tmp_path, only_fine_tunes=False, student=object(), distillation=None)
    made = SimpleNamespace(model=small, plan=None, budget="", limits=())
    hand_over(recipe, ready, SimpleNamespace(model=dense), made, lambda line: None)  # type: ignore[arg-type]
    assert found == ["cpu", "cpu"]


def test_a_report_times_the_baseline_on_the_device_of_the_model(gpu: PretendedDevice) -> None:
    dense, small = nn.Linear(2, 2), nn.Linear(2, 1).to("cuda")
    timed = beside(dense, small)
    assert [each.weight.device.type for each in (timed, dense)] == ["cuda", "cpu"]  # type: ignore[union-attr]
    assert beside(small, timed) is small


def test_the_peak_of_a_pass_leaves_out_memory_that_was_resident_before(
    gpu: PretendedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda *each: 700)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda *each: 1_000)

    class Waveform(nn.Linear):
        def forward(self, waveform: torch.Tensor) -> torch.Tensor:
            return waveform * 2

    assert peak_memory_bytes(Waveform(1, 1).to("cuda"), 0.1) == 300
