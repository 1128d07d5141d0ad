"""Exported files in their runtimes: only what the graph takes is fed, and all outputs come back."""

from pathlib import Path

import numpy as np
import pytest
import torch

from prune_ssl.exporting.targets import TARGETS
from prune_ssl.runtimes.sessions import OPENERS
from tests.support.exporting import needs_onnx

FEEDS = {
    "input_values": np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 6),
    "attention_mask": np.ones((2, 6), dtype=np.int64),
}


def test_every_target_has_a_runtime_to_be_checked_in() -> None:
    assert {target.graph for target in TARGETS.values()} == set(OPENERS)


class Doubled(torch.nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return 2 * values


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_takes_tensors_by_position(tmp_path: Path) -> None:
    traced = torch.jit.trace(Doubled(), torch.zeros(1, 3))
    torch.jit.save(traced, tmp_path / "model.pt")
    session = OPENERS["torchscript"](tmp_path / "model.pt")
    values = {"input_values": FEEDS["input_values"]}
    (found,) = session(values)
    np.testing.assert_array_equal(found, 2 * FEEDS["input_values"])


@needs_onnx
def test_onnx_is_fed_only_what_its_graph_takes(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    shape = ["rows", "samples"]
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["input_values"] * 2, ["logits"]),
            helper.make_node("Neg", ["logits"], ["more"]),
        ],
        "doubled",
        [helper.make_tensor_value_info("input_values", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("logits", "more")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    session = OPENERS["onnx"](tmp_path / "model.onnx", 1)
    found = session(FEEDS)
    np.testing.assert_array_equal(found[0], 2 * FEEDS["input_values"])
    np.testing.assert_array_equal(found[1], -found[0])


@pytest.mark.parametrize("kind", ["torchscript", pytest.param("onnx", marks=needs_onnx)])
def test_a_file_that_is_no_graph_raises_what_its_runtime_raises(tmp_path: Path, kind: str) -> None:
    (tmp_path / "model").write_bytes(b"no graph")
    with pytest.raises(Exception, match=r"(?i)model|archive|protobuf|load"):
        OPENERS[kind](tmp_path / "model")
