"""The selection of cells, and the order in which they need each other."""

from methods.recipes import BUDGETS
from methods.studies import CONTROL, DENSE, GATES, METHODS, STUDIES, WHOLE, Cell, cells_of, missing

STUDY = STUDIES["arabic_commands"]


def cell(method: str, percent: int = 50, seed: int = 0) -> Cell:
    return Cell(STUDY, method, percent, seed)


def test_an_empty_selection_means_all_cells_of_a_study() -> None:
    cells = cells_of(STUDY)
    assert len(cells) == len(set(cells)) == len(STUDY.seeds) * (2 + len(STUDY.methods) * len(STUDY.budgets))
    assert {each.percent for each in cells if each.method in (DENSE, CONTROL)} == {WHOLE}


def test_a_selection_leaves_the_control_without_a_budget() -> None:
    found = cells_of(STUDY, (CONTROL, GATES), (25,), (1,))
    assert found == [cell(CONTROL, WHOLE, 1), cell(GATES, 25, 1)]
    assert [each.name for each in found] == ["control-s1", "gates-25-s1"]


def test_cells_that_are_needed_come_before_and_only_once() -> None:
    found = missing([cell("hj_size"), cell(GATES), cell(CONTROL, WHOLE)], (), lambda _: False)
    assert found == [cell(DENSE, WHOLE), cell(GATES), cell("hj_size"), cell(CONTROL, WHOLE)]


def test_cells_with_a_row_are_not_run_again_but_a_dense_model_that_is_gone() -> None:
    known = {each.key for each in (cell(DENSE, WHOLE), cell(GATES))}
    assert missing([cell(DENSE, WHOLE), cell(GATES)], known, lambda _: False) == []
    assert missing([cell("hj_size")], known, lambda _: True) == [cell("hj_size")]
    assert missing([cell("hj_size")], known, lambda _: False) == [cell(DENSE, WHOLE), cell("hj_size")]


def test_methods_and_studies_name_only_what_there_is() -> None:
    assert {method.budget for method in METHODS.values()} <= BUDGETS.keys()
    assert all(abs(sum(method.shares) - 1) < 1e-9 for method in METHODS.values())
    assert {name for study in STUDIES.values() for name in study.methods} <= METHODS.keys()
