"""An audit fails for a known weakness, and where no package at all could be looked up."""

import json

from tools.read_audit import summary

CLEAN = {"name": "a", "version": "1", "vulns": []}
WEAK = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "mine", "skip_reason": "not on the index"}


def of(*packages: dict[str, object]) -> tuple[str, int]:
    return summary(json.dumps({"dependencies": packages, "fixes": []}))


def test_what_was_audited_is_counted() -> None:
    assert of(CLEAN, SKIPPED)[1] == 0
    assert of(CLEAN, SKIPPED)[0].startswith("1 packages audited, 1 could not be looked up (first: mine")
    assert of(SKIPPED)[1] == 1
    assert of()[1] == 1
    text, status = of(CLEAN, WEAK)
    assert status == 1
    assert "b 2: PYSEC-1, mended in 3" in text
