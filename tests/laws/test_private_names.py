"""Private attributes of other libraries are used in the modules of internals only, and of our own nowhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

INTERNALS = ("models/torch_internals.py", "models/transformers_internals.py")
SUSPECT = re.compile(r"(?<!self)(?<!cls)(?<!super\(\))\._[a-zA-Z]")
"""A line that may use a private attribute of another object; only files with one are parsed."""
KNOWN = {
    # No public way: the models that a checkpoint covers.
    ("training/resumable.py", "self.accelerator._models"),
}


def private_uses(file: Path) -> Iterator[str]:
    text = file.read_text(encoding="utf-8")
    if not SUSPECT.search(text):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = ast.unparse(node.value)
            if owner not in ("self", "cls", "super()"):
                yield f"{owner}.{node.attr}"


def test_private_attributes_stand_in_the_modules_of_internals() -> None:
    house = ROOT / "prune_ssl"
    found = {
        (name, use)
        for file in sorted(house.rglob("*.py"))
        if (name := file.relative_to(house).as_posix()) not in INTERNALS
        for use in private_uses(file)
    }
    assert found <= KNOWN, f"not in a module of internals: {sorted(found - KNOWN)}"
    assert found == KNOWN, f"no longer used, strike them off: {sorted(KNOWN - found)}"
