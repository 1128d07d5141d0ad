"""Public names of a package that import their modules when they are first used (PEP 562)."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec


def lazily(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the functions `__getattr__` and `__dir__` of a package.

    A name of `homes` is imported from its module when it is first asked for. Any other name is looked for
    among the modules of the package, so that `import prune_ssl` is enough for `prune_ssl.selection.solve`.

    Args:
        package: The `__name__` of the package.
        homes: Maps a module to the names that the package takes from it, separated by spaces.
    """
    module_of = {name: module for module, names in homes.items() for name in names.split()}

    def get(name: str) -> object:
        if name in module_of:
            found: object = getattr(import_module(module_of[name]), name)
            setattr(sys.modules[package], name, found)
            return found
        place = f"{package}.{name}"
        if not name.startswith("_") and find_spec(place) is not None:
            return import_module(place)
        raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of})

    return get, names
