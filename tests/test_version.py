"""The version of the package."""

import re
from importlib import metadata

import prune_ssl
from prune_ssl.version import VERSION


def test_the_version_is_that_of_the_installed_package() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|a\d+|b\d+|rc\d+)?", VERSION)
    assert prune_ssl.__version__ == VERSION
    assert metadata.version("prune_ssl") == VERSION
