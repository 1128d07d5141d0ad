"""Doctests stand in fences on the documentation site, whole and without their heading."""

import pytest

pytest.importorskip("griffe", reason="mkdocstrings is not installed")

from tools.griffe_doctests import fenced


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Add.\n\n>>> 1 + 1\n2", "Add.\n\n```pycon\n>>> 1 + 1\n2\n```\n"),
        ("Add.\n\nExample:\n    >>> 1 + 1\n    2\n", "Add.\n\n```pycon\n>>> 1 + 1\n2\n```\n"),
        (">>> a = 1\n\n>>> a\n1\n\nMore.", "```pycon\n>>> a = 1\n\n>>> a\n1\n```\n\nMore.\n"),
        ("Nothing to run.", "Nothing to run.\n"),
    ],
)
def test_a_doctest_becomes_a_block(text, wanted):
    assert fenced(text) == wanted
