"""A model opened in a runtime: the same function, in the form of the runtime, and the model as it was."""

import pytest
import torch

from prune_ssl.errors import BudgetError
from prune_ssl.models.int8_linear import Int8Linear
from prune_ssl.models.registry import input_shape
from prune_ssl.runtimes import RUNTIMES, open_model
from prune_ssl.runtimes.opening import prepare, require_device
from tests.support.exporting import needs_onnx, needs_openvino
from tests.support.models import checksum, tiny_model

MODEL = tiny_model(num_hidden_layers=1, conv_dim=(12, 10), conv_kernel=(10, 8), conv_stride=(20, 16))


def wanted(seconds: float) -> torch.Tensor:
    noise = torch.randn(input_shape(MODEL, seconds), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return MODEL.eval()(noise)[0]


@pytest.mark.parametrize(
    ("runtime", "near"),
    [
        ("eager", 1e-6),
        ("bfloat16", 0.1),
        ("torch-int8", 0.1),
        pytest.param("onnx", 1e-4, marks=needs_onnx),
        pytest.param("onnx-int8", 0.3, marks=needs_onnx),
        pytest.param("openvino", 0.1, marks=needs_openvino),
    ],
)
def test_an_opened_model_computes_what_the_model_computes(runtime: str, near: float) -> None:
    before = checksum(MODEL)
    opened = open_model(MODEL, runtime, 0.2)
    with torch.no_grad():
        found = torch.as_tensor(opened.call()[0]).float()
    assert (found - wanted(0.2)).abs().max() <= near * wanted(0.2).abs().max()
    assert (opened.size_bytes is not None) == bool(RUNTIMES[runtime].graph)
    assert checksum(MODEL) == before


def test_integers_replace_the_linear_layers_of_the_copy_only(tmp_path) -> None:
    made = prepare(MODEL, "torch-int8", tmp_path).model
    assert any(isinstance(module, Int8Linear) for module in made.modules())
    assert not any(isinstance(module, Int8Linear) for module in MODEL.modules())


def test_a_device_on_which_a_runtime_does_not_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BudgetError, match="runtime onnx is measured @cpu only, not @cuda"):
        require_device(RUNTIMES["onnx"], "cuda")
    with pytest.raises(BudgetError, match="runtime cuda-graphs is measured @cuda only, not @cpu"):
        require_device(RUNTIMES["cuda-graphs"], "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BudgetError, match="no CUDA device"):
        open_model(MODEL, "cuda-graphs", 0.2, device="cuda")


@needs_onnx
def test_a_module_that_is_no_model_of_transformers_is_refused() -> None:
    with pytest.raises(BudgetError, match="Sequential is not a model of transformers"):
        open_model(torch.nn.Sequential(), "onnx", 0.2)
