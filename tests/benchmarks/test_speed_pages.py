"""Pages of speed and of scaling: made of rows, with the conditions under which these were measured."""

import realised_speed
import scaling

CONDITIONS = {
    "date": "2026-01-02",
    "cpu": "a CPU",
    "cores": 2,
    "load": 3.5,
    "torch": "2",
    "python": "3",
    "command": "",
}
ROW = {
    "model": "wav2vec2-base",
    "runtime": "onnx",
    "threads": 1,
    "seconds": 1.0,
    "macs": {"50": 0.5},
    "processor_ms": {"stock": 20.0, "100": 10.0, "50": 6.25},
    "low_ms": {"stock": 90.0, "100": 90.0, "50": 90.0},
    "n": 30,
    "unsteady": "the load average is 3 times",
} | CONDITIONS


def test_one_thread_is_compared_by_processor_time_and_unsteady_rows_are_marked() -> None:
    cells = realised_speed.line(ROW)
    assert cells == ["wav2vec2-base", "1 s", "1", "onnx", "2.00", "3.20", "-", "-", "0.80", "30*"]
    assert realised_speed.line(ROW | {"threads": 2})[4] == "1.00"


def test_the_page_says_its_conditions_and_what_was_refused() -> None:
    refused = {name: ROW[name] for name in realised_speed.KEY} | {"refused": "no compiler"} | CONDITIONS
    page = realised_speed.page([ROW, refused])
    assert "2026-01-02: a CPU, 2 cores, torch 2; load average 3.5 to 3.5" in page
    assert "Rows with * were measured while other programs used the cores" in page
    assert "| no compiler |" in page


def test_an_exponent_is_the_slope_between_the_smallest_and_the_largest_size() -> None:
    rows = [{"params": 10, "save": 1.0}, {"params": 20, "save": 3.0}, {"params": 1000, "save": 100.0}]
    assert scaling.exponent(rows, "save") == "1.00"
    assert scaling.exponent(rows[:1], "save") == "-"
