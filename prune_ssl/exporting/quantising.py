"""Integer weights for an ONNX graph: matrix products in int8, convolutions in float32."""

from pathlib import Path

from prune_ssl.writing import new_file


def quantise_onnx(path: Path) -> None:
    """Replace the float32 matrices of a graph's matrix products by 8-bit integers, in place.

    Activations are quantised at run time (dynamic quantisation), which needs no calibration data and does not
    depend on the loudness of such data. Convolutions stay float32, because integers would give them five
    times the error and hardly more speed. Weights are unsigned, because signed ones overflow on processors
    without VNNI instructions.

    Args:
        path: The ONNX file.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(str(path))
    known = {initializer.name for initializer in graph.graph.initializer}
    shapes = [info for info in graph.graph.value_info if info.name not in known]
    del graph.graph.value_info[:]  # shapes of weights that the quantiser transposes would be wrong after it
    graph.graph.value_info.extend(shapes)
    with new_file(path) as made:
        quantize_dynamic(
            graph, str(made), op_types_to_quantize=["MatMul"], weight_type=QuantType.QUInt8, per_channel=True
        )
