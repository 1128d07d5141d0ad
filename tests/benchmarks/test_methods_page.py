"""The page of the comparison is made from the kept table alone."""

from pathlib import Path

import pytest
from methods.page import budget_table, study_text, write_page
from methods.results import Table, load_table, save_table
from methods.studies import STUDIES

from tests.support.compared import JUDGED, made_row, made_table

STUDY = STUDIES["arabic_commands"]
OUTCOMES = {
    ("control", 100): ("1111", "1110"),
    ("gates", 50): ("1110", "1110"),
    ("one_shot_taylor", 50): ("1000", "1100"),
    ("auto", 50): ("1111",),
}


def test_a_table_of_a_budget_has_means_seeds_and_differences_to_gates() -> None:
    lines = budget_table(made_table(OUTCOMES), STUDY, 50).splitlines()
    labels, means, ahead = (
        [line.split(" | ")[place].strip("| ") for line in lines[2:]] for place in (0, 1, 4)
    )
    assert labels == ["control: dense, trained on", "**gates**", "Taylor, one cut", "auto"]
    assert means == ["87.50", "75.00", "37.50", "(100.00)"]
    # The errors by hand: per seed 1/4 and 0, speaker a gains nothing; per seed 1/2 and 1/4.
    assert ahead == ["-12.5 ± 12.5", "-", "+37.5 ± 12.5", "-25.0 ± 25.0"]
    assert lines[2].endswith("100.0% | 1.0 | 1.5 |")


def test_a_page_is_the_same_each_time_and_needs_the_table_alone(tmp_path: Path) -> None:
    save_table(tmp_path / "rows.jsonl", made_table(OUTCOMES))
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_page(tmp_path / name / "page.md", "make", load_table(tmp_path / "rows.jsonl"))
        picture = tmp_path / name / "page_arabic_commands.svg"
        made.append((tmp_path / name / "page.md").read_text() + picture.read_text())
    assert made[0] == made[1]
    assert "![accuracy against MACs kept](page_arabic_commands.svg)" in made[0]
    assert "| gates | 50% | 50.00% | - | - | 2.0 points |" in made[0]
    assert "an4_asr" not in made[0]


def test_a_study_without_rows_says_so() -> None:
    assert "No cell was run." in study_text(Table(), STUDY)


def test_rows_that_were_judged_on_other_clips_are_refused() -> None:
    table = made_table(OUTCOMES)
    other = made_row("auto", 50, 1, "11", 1.0)
    with pytest.raises(ValueError, match=r"4 of test\) than this one \(2 of validation\)"):
        table.add(type(JUDGED)("arabic_commands", "accuracy", "validation", ("a1", "a2"), ("a", "a")), other)


def test_dropped_rows_are_gone_and_with_the_last_what_they_were_judged_on() -> None:
    table = made_table(OUTCOMES)
    table.drop([key for key in table.rows if key[1] != "auto"])
    assert [key[1] for key in table.rows] == ["auto"]
    table.drop(list(table.rows))
    assert (table.rows, table.judged) == ({}, {})
