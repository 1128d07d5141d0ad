"""The documentation site leads to every page, and builds without a warning."""

import subprocess
import sys

import pytest
import yaml

from tests.support.paths import ROOT

MADE = {
    "readme.md",
    "contributing.md",
    "changelog.md",
    "reference/python.md",
    "reference/recipe_keys.md",
    "reference/commands.md",
}


def pages_of(nav):
    for entry in nav:
        for value in entry.values():
            yield from pages_of(value) if isinstance(value, list) else [value]


def test_the_navigation_names_every_page_once():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = list(pages_of(site["nav"]))
    assert sorted(named) == sorted({page.name for page in (ROOT / "docs").glob("*.md")} | MADE)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_holds_the_reference(tmp_path):
    pytest.importorskip("mkdocstrings")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    for page, words in (
        ("reference/python.html", "prune_ssl.PruningConfig"),
        ("reference/recipe_keys.html", "batch_seconds"),
        ("reference/commands.html", "--dry-run"),
    ):
        assert words in (tmp_path / page).read_text(encoding="utf-8")
