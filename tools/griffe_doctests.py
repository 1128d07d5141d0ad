"""An extension of griffe, which reads docstrings for the documentation: doctests become blocks of code."""

import re
import textwrap
from typing import Any

import griffe

DOCTEST = re.compile(
    r"(?:^ *Examples?:\n)?"  # its heading
    r"((?:^ *>>>.*\n(?:^(?! *$).*\n)*(?:\n(?= *>>>))?)+)",  # up to an empty line that no >>> follows
    re.MULTILINE,
)


def fenced(text: str) -> str:
    """Return a docstring with its doctests in fences; Markdown would take them for quotations."""
    return DOCTEST.sub(_fence, f"{text.rstrip()}\n")


def _fence(found: re.Match[str]) -> str:
    return f"```pycon\n{textwrap.dedent(found[1]).rstrip()}\n```\n"


class Doctests(griffe.Extension):
    """Fences the doctests of every object."""

    def on_object(self, *, obj: griffe.Object, **more: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
