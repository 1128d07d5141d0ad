"""OpenVINO graphs count frames in whole numbers, so that bfloat16 masks the frames that float32 masks."""

import numpy as np
import pytest
import torch

from prune_ssl.exporting import write_export
from prune_ssl.runtimes.inputs import as_feeds, example
from prune_ssl.runtimes.sessions import open_openvino
from prune_ssl.runtimes.whole_numbers import FACTORS, count_in_whole_numbers
from tests.support.exporting import NORMALISED_WITH_MASK, needs_openvino, pruned


def floored_floats(graph):
    """The floored divisions in floats of a graph."""
    floors = [node for node in graph.get_ops() if node.get_type_name() == "Floor"]
    sources = [node.input(0).get_source_output().get_node() for node in floors]
    return [node for node in sources if node.get_type_name() in FACTORS and node.get_element_type().is_real()]


@needs_openvino
@pytest.mark.slow
def test_a_graph_masks_the_same_frames_in_the_precision_that_openvino_chooses(tmp_path):
    import openvino

    model = pruned("hubert", "ForSequenceClassification", "layer")
    made = write_export(model, tmp_path / "out", "openvino", processor=NORMALISED_WITH_MASK)
    graph = openvino.Core().read_model(str(made.file))
    assert count_in_whole_numbers(graph) == 0
    assert not floored_floats(graph)

    run = open_openvino(made.file, threads=2, precision="")
    for seconds in (0.7, 1.0, 5.0):
        inputs = example(model, seconds, 2, masked=True)
        with torch.no_grad():
            wanted = model(**inputs)[0].numpy()
        assert np.abs(run(as_feeds(inputs))[0] - wanted).max() < 0.05 * np.abs(wanted).max()


@needs_openvino
@pytest.mark.parametrize("divisor", [1, 2, 3, 5, 49, 160, 320])
def test_floored_divisions_become_whole_ones(divisor):
    import openvino
    from openvino import opset14 as operations

    samples = operations.parameter([-1], np.int64)
    share = operations.multiply(
        operations.convert(samples, "f32"), operations.constant(np.float32(1) / np.float32(divisor))
    )
    frames = operations.convert(operations.floor(share), "i64")
    graph = openvino.Model([frames], [samples])
    assert count_in_whole_numbers(graph) == 1
    given = np.array([0, 1, 48, 49, 80_000, 479_999, 480_000, 15_999_999], np.int64)
    found = openvino.Core().compile_model(graph, "CPU")(given)[0]
    np.testing.assert_array_equal(found, given // divisor)


@needs_openvino
def test_other_floors_stay():
    import openvino
    from openvino import opset14 as operations

    level = operations.parameter([-1], np.float32)
    graph = openvino.Model([operations.floor(operations.multiply(level, np.float32(0.5)))], [level])
    assert count_in_whole_numbers(graph) == 0
