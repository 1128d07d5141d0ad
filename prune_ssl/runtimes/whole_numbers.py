"""Let an OpenVINO graph count frames in whole numbers.

OpenVINO's converter turns a floored division of two whole numbers into one of floats, with the divisor as a
factor. The number of frames is such a division. OpenVINO computes in bfloat16 by itself where the processor
has it, and then 80,000 samples no longer give 249 frames: masks cover other frames, or the graph fails.
"""

from typing import Any

FACTORS = {"Multiply", "Divide"}
CASTS = {"Convert"}


def count_in_whole_numbers(graph: Any) -> int:
    """Replace floored divisions of whole numbers in an `openvino.Model`, in place; return their number."""
    from openvino import opset14 as operations

    found = 0
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "Floor":
            continue
        division = _source(node)
        dividend = _whole(_source(division)) if division.get_type_name() in FACTORS else None
        divisor = _divisor(division) if dividend is not None else None
        if dividend is None or divisor is None:
            continue
        kind = dividend.get_element_type()
        exact = operations.divide(dividend, operations.constant(divisor, dtype=kind.to_dtype()))
        back = operations.convert(exact.output(0), node.output(0).get_element_type().get_type_name())
        back.set_friendly_name(node.get_friendly_name())
        for target in node.output(0).get_target_inputs():
            target.replace_source_output(back.output(0))
        found += 1
    graph.validate_nodes_and_infer_types()
    return found


def _source(node: Any, index: int = 0) -> Any:
    return node.input(index).get_source_output().get_node()


def _whole(cast: Any) -> Any:
    """Return the whole numbers that a node casts to floats; None if it does something else."""
    if cast.get_type_name() not in CASTS:
        return None
    given = cast.input(0).get_source_output()
    return given if given.get_element_type().is_integral() else None


def _divisor(division: Any) -> int | None:
    """Return the whole number that a node divides by; None if it does not divide by one."""
    constant = _source(division, 1)
    if constant.get_type_name() in CASTS:
        constant = _source(constant)
    if constant.get_type_name() != "Constant" or constant.get_data().size != 1:
        return None
    value = float(constant.get_data().item())
    exact = 1.0 / value if division.get_type_name() == "Multiply" and value else value
    near = round(exact)
    return near if near >= 1 and abs(exact - near) < 1e-4 * near else None
