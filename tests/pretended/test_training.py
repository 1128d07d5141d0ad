"""Training on a GPU: the teacher's precision, several GPUs in one process, and where gates are."""

from types import SimpleNamespace

import pytest
import torch

from prune_ssl.distillation import Distiller
from prune_ssl.errors import RecipeError
from prune_ssl.pipeline.arguments import refuse_one_process_for_several_gpus
from prune_ssl.training.gated_part import GatedPart
from tests.pretended.device import PretendedDevice


def test_several_gpus_in_one_process_are_refused_with_the_line_of_torchrun() -> None:
    many = {"pruning": SimpleNamespace(n_gpu=2)}
    with pytest.raises(RecipeError, match=r"sees 2 GPUs.*torchrun --nproc-per-node 2 -m prune_ssl run"):
        refuse_one_process_for_several_gpus("words", many)  # type: ignore[arg-type]
    refuse_one_process_for_several_gpus("words", {"pruning": SimpleNamespace(n_gpu=1)})  # type: ignore[dict-item]


def test_gates_are_put_on_the_device_of_the_training(gpu: PretendedDevice) -> None:
    gates = torch.nn.Linear(2, 2)
    arguments = SimpleNamespace(device=torch.device("cuda", 0))
    part = GatedPart(gates, None, (), arguments)  # type: ignore[arg-type]
    assert next(part.gates.parameters()).device.type == "cuda"


@pytest.mark.parametrize("asked", ["auto", "float32"])
def test_the_teacher_computes_in_the_precision_of_the_student(asked: str) -> None:
    distiller = SimpleNamespace(config=SimpleNamespace(teacher_dtype=asked), half=torch.bfloat16)
    with Distiller._precision_of_teacher(distiller, torch.device("cpu")):  # type: ignore[arg-type]
        found = torch.nn.functional.linear(torch.ones(1, 2), torch.ones(1, 2)).dtype
    assert found is (torch.bfloat16 if asked == "auto" else torch.float32)
