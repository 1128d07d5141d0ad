"""Put the docstrings of a class's fields into the docstring of the class, where `help()` shows them."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeVar

Class = TypeVar("Class", bound=type)


def with_fields(kind: Class) -> Class:
    """Add a section `Attributes` to a class's docstring, from the texts below its annotated fields.

    A class whose source cannot be read, as in a frozen program, stays as it is.

    >>> from prune_ssl.gating import PruningConfig
    >>> "budget: The cost to keep" in PruningConfig.__doc__
    True
    """
    try:
        (found,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return kind
    lines = [f"    {name}: {text}" for name, text in _fields(found)]
    if lines:
        kind.__doc__ = "\n".join([inspect.cleandoc(kind.__doc__ or ""), "", "Attributes:", *lines])
    return kind


def _fields(found: ast.stmt) -> Iterator[tuple[str, str]]:
    body = found.body if isinstance(found, ast.ClassDef) else []
    for field, after in pairwise(body):
        named = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            yield field.target.id, " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
