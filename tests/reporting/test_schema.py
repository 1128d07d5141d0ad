"""The published JSON Schema of report.json: it is that of the code, and reports fit it."""

import json

import pytest

from tests.support.paths import ROOT

SCHEMA = ROOT / "prune_ssl" / "reporting" / "report.schema.json"


def test_the_schema_is_that_of_the_code():
    from tools.report_schema import schema_text

    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), "run: python -m tools.report_schema"


def test_a_report_fits_the_schema_and_a_damaged_one_does_not(made, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    found = json.loads(made.save(tmp_path / "report.json").read_text())
    check.validate(found)
    assert [error.validator for error in check.iter_errors(found | {"title": 1})] == ["type"]
    assert [error.validator for error in check.iter_errors(found | {"more": 1})] == ["additionalProperties"]
    del found["model"]
    assert [error.validator for error in check.iter_errors(found)] == ["required"]


def test_a_page_stays_small_and_fits_on_paper(made, tmp_path):
    page = made.save(tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(page.encode()) < 400_000
    assert "@media print" in page
