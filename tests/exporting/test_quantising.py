"""Exports with integers."""

import pytest

from prune_ssl.exporting import write_export
from tests.support.exporting import NORMALISED, difference, needs_onnx, pruned


@needs_onnx
@pytest.mark.slow
def test_integers_make_the_file_smaller_and_keep_the_output_near(tmp_path):
    model = pruned("hubert", "ForCTC", hidden_size=128, intermediate_size=512, num_attention_heads=4)
    whole = write_export(model, tmp_path / "whole", "onnx", processor=NORMALISED)
    small = write_export(model, tmp_path / "small", "onnx-int8", processor=NORMALISED)
    assert small.size_bytes < 0.7 * whole.size_bytes
    assert 1e-5 < difference(model, small, False) < 0.1
