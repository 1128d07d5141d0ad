"""Integer forms of an ONNX graph: dynamic (matrix products), and static (calibrated, convolutions too)."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from prune_ssl.errors import ExportError
from prune_ssl.runtimes.inputs import Feeds
from prune_ssl.runtimes.registry import DYNAMIC, STATIC
from prune_ssl.writing import new_file

if TYPE_CHECKING:
    import onnx

OTHERWISE = {DYNAMIC: "the target onnx", STATIC: "dynamic ones (int8)"}
"""The advice where one kind cannot be made."""


def quantise_dynamic(source: Path, path: Path) -> None:
    """Write a graph whose matrix products have 8-bit integers for weights.

    Activations are quantised at run time, which needs no calibration data and does not depend on the loudness
    of such data. Convolutions stay float32. Weights are unsigned, because signed ones overflow on processors
    without VNNI instructions.

    Args:
        source: The float32 ONNX file.
        path: The file to write.

    Raises:
        ExportError: the quantiser fails.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = _without_weight_shapes(source)
    with new_file(path) as made, _one_line(DYNAMIC):
        quantize_dynamic(
            graph, str(made), op_types_to_quantize=["MatMul"], weight_type=QuantType.QUInt8, per_channel=True
        )


def quantise_static(source: Path, path: Path, clips: Iterable[Feeds]) -> None:
    """Write a graph whose matrix products and convolutions have 8-bit integers for weights and activations.

    ONNX Runtime's calibrator takes the range of each activation from clips. The graph has the form QDQ, whose
    pairs of nodes other runtimes read too.

    Args:
        source: The float32 ONNX file.
        path: The file to write.
        clips: The inputs of the graph for each clip.

    Raises:
        ExportError: the quantiser fails, for example because there are no clips.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # a class of an untyped package
        """Gives the calibrator one clip after another."""

        def __init__(self) -> None:
            self.clips = iter(clips)

        def get_next(self) -> Feeds | None:
            return next(self.clips, None)

    graph = _without_weight_shapes(source)
    with new_file(path) as made, _one_line(STATIC):
        quantize_static(
            graph,
            str(made),
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gemm", "Conv"],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QUInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
        )


def _without_weight_shapes(path: Path) -> "onnx.ModelProto":
    """Return a graph without its weights' shapes, which would be wrong after the quantiser turns some."""
    import onnx

    graph = onnx.load(str(path))
    known = {initializer.name for initializer in graph.graph.initializer}
    shapes = [info for info in graph.graph.value_info if info.name not in known]
    del graph.graph.value_info[:]
    graph.graph.value_info.extend(shapes)
    return graph


@contextmanager
def _one_line(kind: str) -> Iterator[None]:
    """Turn what the quantiser raises into one line, and hide its advice.

    Raises:
        ExportError: the quantiser fails.
    """
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    except ExportError:
        raise
    except Exception as error:  # the quantiser raises errors of every kind
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise ExportError(
            f"onnx-int8: {kind} integers cannot be made ({words}). Take {OTHERWISE[kind]}."
        ) from error
    finally:
        logging.disable(level)
