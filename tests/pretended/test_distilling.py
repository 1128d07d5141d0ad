"""Distillation on a GPU: a step with padded clips waits for nothing."""

import copy

import pytest
import torch

from prune_ssl.distillation import DistillationConfig, Distiller
from tests.pretended.device import PretendedDevice
from tests.support.distilling import audio, distil
from tests.support.models import tiny_model


@pytest.mark.parametrize("losses", [("l1", "cosine"), ("layer_gram", "intra_gram")], ids=["hidden", "star"])
def test_a_step_waits_for_nothing_and_makes_each_mask_once(
    gpu: PretendedDevice, losses: tuple[str, ...]
) -> None:
    student = tiny_model("hubert", num_hidden_layers=1).train()
    teacher = copy.deepcopy(student)
    config = DistillationConfig(losses=dict.fromkeys(losses, 1.0), projection="none")
    distiller = Distiller(config, teacher, student.to("cuda")).to(torch.device("cuda", 0))
    inputs = {name: value.to("cuda") for name, value in audio(1600, 1200).items()}
    distil(distiller, student, inputs).backward()
    gpu.counted.clear()
    distil(distiller, student, inputs).backward()
    ours = gpu.counted.crossings("prune_ssl/")
    waits = [line for _, line in gpu.counted.waits if line.startswith("prune_ssl/")]
    assert not waits
    masks = sum(count for (_, line), count in ours.items() if "taps.py" in line)
    assert 1 <= masks <= 2, "one for each stage of the model"
