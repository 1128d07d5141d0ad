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


def test_every_key_of_a_recipe_stands_once_with_its_meaning():
    docs_site = pytest.importorskip("tools.docs_site", reason="mkdocs is not installed")
    found = []
    for section in docs_site.recipe_keys().split("\n## ")[1:]:
        title, *lines = section.splitlines()
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")
        ]
        assert all(len(row) == 4 and row[3] for row in rows), title
        found += [f"{title}.{row[0].strip('`')}" for row in rows]
    assert len(found) == len(set(found)) > 120
    assert {"The recipe.seed", "pruning.budget", "data.augment.speeds", "distillation.teacher"} <= set(found)


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
