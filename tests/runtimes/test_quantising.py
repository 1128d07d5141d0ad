"""Exports with integers."""

import numpy as np
import pytest

from prune_ssl.exporting import write_export
from prune_ssl.runtimes.conversion import write_onnx
from prune_ssl.runtimes.inputs import as_feeds, example
from prune_ssl.runtimes.quantising import quantise_static
from prune_ssl.runtimes.sessions import open_onnx
from tests.support.exporting import NORMALISED, difference, needs_onnx, pruned


@needs_onnx
@pytest.mark.slow
def test_integers_make_the_file_smaller_and_keep_the_output_near(tmp_path):
    model = pruned("hubert", "ForCTC", hidden_size=128, intermediate_size=512, num_attention_heads=4)
    whole = write_export(model, tmp_path / "whole", "onnx", processor=NORMALISED)
    small = write_export(model, tmp_path / "small", "onnx-int8", processor=NORMALISED)
    assert small.size_bytes < 0.7 * whole.size_bytes
    assert 1e-5 < difference(model, small, False) < 0.1


@needs_onnx
@pytest.mark.slow
def test_static_integers_have_convolutions_too_and_keep_the_output_near(tmp_path):
    import onnx

    model = pruned("hubert", "ForCTC", hidden_size=64, intermediate_size=128, num_attention_heads=4)
    whole, small = tmp_path / "whole.onnx", tmp_path / "small.onnx"
    write_onnx(model, example(model, 1.0, 2, False), whole, {})
    clips = [as_feeds(example(model, 0.5, 1, False, seed)) for seed in range(4)]
    quantise_static(whole, small, clips)
    graph = onnx.load(small).graph
    made_by = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type in ("Conv", "MatMul"):
            assert all(made_by[name].op_type == "DequantizeLinear" for name in node.input[:2])
    feeds = as_feeds(example(model, 0.9, 2, False, 9))
    wanted, found = (open_onnx(path)(feeds)[0] for path in (whole, small))
    assert 1e-5 < np.abs(found - wanted).max() / np.abs(wanted).max() < 0.3
