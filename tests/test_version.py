"""The version of the package."""

import re
from importlib import metadata

import yaml

import prune_ssl
from prune_ssl.version import VERSION
from tests.support.paths import ROOT


def test_the_version_is_that_of_the_installed_package() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|a\d+|b\d+|rc\d+)?", VERSION)
    assert prune_ssl.__version__ == VERSION
    assert metadata.version("prune_ssl") == VERSION


def test_the_citation_names_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == VERSION
