"""One module as a graph of its own: it computes what it computes within the model."""

import pytest
import torch
from torch import nn

from prune_ssl.runtimes.modules import Alone, Arguments, open_module
from prune_ssl.runtimes.registry import RUNTIMES
from tests.support.exporting import needs_onnx, needs_openvino


class Mixed(nn.Module):
    """Takes tensors and other values, by position and by name, and returns several outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, given, factor, *, mask=None, added=None):
        found = factor * self.linear(given)
        return (found if added is None else found + added), mask


def arguments(rows: int = 5) -> Arguments:
    return Arguments((torch.ones(1, rows, 4), 2.0), {"mask": None, "added": torch.ones(1, rows, 3)})


def test_tensors_are_named_in_their_order_and_the_rest_is_constant() -> None:
    given, module = arguments(), Mixed()
    assert given.shapes == ((1, 5, 4), (1, 5, 3))
    found = Alone(module, given)(*given.tensors.values())
    assert torch.equal(found, module(*given.by_position, **given.by_name)[0])


@pytest.mark.parametrize(
    "runtime", [pytest.param("onnx-int8", marks=needs_onnx), pytest.param("openvino", marks=needs_openvino)]
)
def test_a_module_runs_in_the_runtime(runtime: str) -> None:
    given, module = arguments(), Mixed().eval()
    session = open_module(module, given, RUNTIMES[runtime], 1, any_length=False)
    feeds = {name: tensor.numpy() for name, tensor in given.tensors.items()}
    with torch.no_grad():
        wanted = module(*given.by_position, **given.by_name)[0]
    assert (torch.as_tensor(session(feeds)[0]) - wanted).abs().max() < 0.05


@needs_onnx
def test_a_convolution_takes_any_length() -> None:
    module = nn.Conv1d(2, 3, 3).eval()
    session = open_module(
        module, Arguments((torch.ones(1, 2, 20),), {}), RUNTIMES["onnx"], 1, any_length=True
    )
    assert session({"tensor_0": torch.ones(1, 2, 41).numpy()})[0].shape == (1, 3, 39)
