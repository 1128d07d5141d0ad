"""The Python file of a pruned model's folder, with which transformers loads the model without prune_ssl.

The file is not maintained by hand. It is assembled from the definitions of this package that the model's
class uses. A model that is loaded by it therefore computes the same as here.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import ModuleType
from typing import NamedTuple

from transformers import PreTrainedModel

from prune_ssl.models import FAMILIES
from prune_ssl.models.family import Family
from prune_ssl.models.pruned import PrunedLayers
from prune_ssl.models.registry import PRUNED_PREFIX
from prune_ssl.models.transformers_internals import SUPPORTS_SDPA, can_fuse

FILE = "modeling_pruned.py"
START, XVECTOR = "prune_ssl.models.pruned", "prune_ssl.models.xvector"
ROOTS = ("PrunedLayers", "_config_class")
EXAMPLE = re.compile(r"\n(\n *Examples?:)?\n\n? *>>> .*?(?=\n *\"\"\")", re.DOTALL)
"""The example at the end of a docstring. It imports prune_ssl, which the file must not need."""
TABLES = ("FAMILIES",)
"""Tables of the package. The file holds only the model's own row of each."""

_HEADER = '''"""A pruned speech model's classes, for programs in which prune_ssl is not installed.

    from transformers import {auto}
    model = {auto}.from_pretrained(FOLDER, trust_remote_code=True)

Assembled by prune_ssl {version} from its own definitions (Apache-2.0). It needs torch and transformers only.
If prune_ssl is installed, prune_ssl.load_pretrained(FOLDER) loads the same model without running this file.
"""'''


class _Name(NamedTuple):
    """A name at the top level of a module of the package."""

    module: str
    name: str


@dataclass(frozen=True)
class _Definition:
    """The statement that defines a name."""

    line: int
    text: str
    uses: frozenset[str]


@dataclass(frozen=True)
class _Source:
    """The definitions and the imports of a module of the package."""

    definitions: dict[str, _Definition]
    own: dict[str, _Name]
    """Names imported from other modules of the package."""
    foreign: dict[str, tuple[str, str]]
    """Names imported from other packages: the module, and the name in it (empty: the module itself)."""


def auto_map(model: PreTrainedModel) -> dict[str, str]:
    """Return the field `auto_map` of config.json, by which transformers finds the classes of the file."""
    stem = FILE.removesuffix(".py")
    return {
        "AutoConfig": f"{stem}.{type(model.config).__name__}",
        _auto_class(type(model)): f"{stem}.{type(model).__name__}",
    }


def modelling_file(model: PreTrainedModel, version: str) -> str:
    """Return the text of the file for a model of a pruned class, such as a PrunedHubertForCTC.

    Args:
        model: The model. Its class and the family in its config decide the content of the file.
        version: The version of prune_ssl, which the file names.
    """
    family = FAMILIES[model.config.model_type.removeprefix(PRUNED_PREFIX)]
    table = f"FAMILIES = {{{family.name!r}: {_literal(family)}}}"
    classes = _classes(type(model), family)
    roots = [_Name(START, name) for name in ROOTS]
    roots += [_Name(each.__module__, each.__name__) for each in _types_in(family)]
    roots += [_Name(XVECTOR, "xvector_class")] * (_stock_class(type(model)).__module__ == XVECTOR)
    needed = _reached(roots)
    texts = [_definition(each).text for each in needed]
    uses = {(each.module, name) for each in needed for name in _definition(each).uses}
    uses |= {(START, name) for name in _used(ast.parse(classes))}
    imports = _imports(
        {_source(module).foreign[name] for module, name in uses if name in _source(module).foreign}
    )
    header = _HEADER.format(auto=_auto_class(type(model)), version=version)
    return f"{header}\n\n{imports}\n\n\n" + "\n\n\n".join([*texts, table, classes]) + "\n"


def _auto_class(kind: type[PreTrainedModel]) -> str:
    assert kind.config_class is not None
    classes = FAMILIES[kind.config_class.model_type.removeprefix(PRUNED_PREFIX)].classes
    assert classes is not None
    stock = kind.__name__.removeprefix("Pruned")
    return next(auto for name, auto in classes.models if name.rpartition(".")[2] == stock)


def _classes(kind: type[PreTrainedModel], family: Family) -> str:
    """Return the statements that define the classes of the config and the model, as prune_ssl makes them."""
    config = kind.config_class
    stock = _stock_class(kind)
    names = () if family.classes is None else (name for name, _ in family.classes.models)
    path = next(name for name in names if name.rpartition(".")[2] == stock.__name__)
    made = f"transformers.{path}"
    if stock.__module__ == XVECTOR:  # transformers has no x-vector model of this family
        made = f"xvector_class(FAMILIES[{family.name!r}])"
    extra = f"    {SUPPORTS_SDPA} = True\n" if can_fuse(kind) and not can_fuse(stock) else ""
    assert config is not None
    return (
        f"{config.__name__} = _config_class(FAMILIES[{family.name!r}])\n\n\n"
        f"class {kind.__name__}(PrunedLayers, {made}):\n"
        f'    """{stock.__name__}, pruned."""\n\n'
        f"    config_class = {config.__name__}\n{extra}\n\n"
        # So that a model that is loaded by this file and trained further is saved with the file.
        f"{config.__name__}.register_for_auto_class()\n"
        f"{kind.__name__}.register_for_auto_class({_auto_class(kind)!r})"
    )


def _stock_class(kind: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """Return the stock class from which a pruned class is derived."""
    bases = (base for base in kind.__bases__ if base is not PrunedLayers)
    return next(base for base in bases if issubclass(base, PreTrainedModel))


def _literal(value: object) -> str:
    """Return a family (or a part of it) as an expression, without functions, which only costs need."""
    if isinstance(value, tuple):
        return f"({''.join(_literal(each) + ', ' for each in value)})"
    if isinstance(value, type):
        return value.__name__
    if not is_dataclass(value):
        return repr(value)
    arguments = (
        f"{field.name}={_literal(given)}"
        for field in fields(value)
        if (given := getattr(value, field.name)) != field.default and _is_data(given)
    )
    return f"{type(value).__name__}({', '.join(arguments)})"


def _is_data(value: object) -> bool:
    """Return whether a field's value is plain data or a class, not a function."""
    return isinstance(value, type) or not callable(value)


def _types_in(value: object) -> Iterator[type]:
    """Yield the classes in the literal of a family."""
    if isinstance(value, type):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from _types_in(each)
    elif is_dataclass(value):
        yield type(value)
        for field in fields(value):
            yield from _types_in(getattr(value, field.name))


def _reached(roots: Iterable[_Name]) -> list[_Name]:
    """Return the roots and all names that they need, ordered so that a module follows those it imports."""
    found: dict[_Name, None] = {}
    waiting = [name for root in roots if (name := _resolved(root)) is not None]
    while waiting:
        name = waiting.pop()
        if name in found or name.name in TABLES:
            continue
        found[name] = None
        uses = _definition(name).uses
        waiting += [each for use in uses if (each := _resolved(_Name(name.module, use))) is not None]
    modules: tuple[str, ...] = ()
    for module in dict.fromkeys(name.module for name in found):
        modules = modules if module in modules else _modules_in_order(module, modules)
    order = {module: index for index, module in enumerate(modules)}
    return sorted(found, key=lambda name: (order[name.module], _definition(name).line))


def _resolved(name: _Name) -> _Name | None:
    """Return the definition of a name that a module uses, or None if it is from another package."""
    source = _source(name.module)
    if name.name in source.definitions:
        return name
    return _resolved(source.own[name.name]) if name.name in source.own else None


def _definition(name: _Name) -> _Definition:
    return _source(name.module).definitions[name.name]


def _modules_in_order(module: str, seen: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the modules `seen`, then those that a module imports, then the module itself."""
    for name in _source(module).own.values():
        if name.module not in seen and name.module != module:
            seen = _modules_in_order(name.module, seen)
    return (*seen, module) if module not in seen else seen


@cache
def _source(module: str) -> _Source:
    """Read the definitions and the imports of a module of the package."""
    found: ModuleType = importlib.import_module(module)
    text = inspect.getsource(found)
    lines = text.splitlines()
    definitions: dict[str, _Definition] = {}
    own: dict[str, _Name] = {}
    foreign: dict[str, tuple[str, str]] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = alias.asname or alias.name
                if str(node.module).startswith("prune_ssl"):
                    own[name] = _Name(str(node.module), alias.name)
                else:
                    foreign[name] = (str(node.module), ast.unparse(alias))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                foreign[alias.asname or alias.name.partition(".")[0]] = (ast.unparse(alias), "")
        else:
            made = _Definition(node.lineno, _text(node, lines), frozenset(_used(node)))
            definitions |= dict.fromkeys(_defined(node), made)
    return _Source(definitions, own, foreign)


def _imports(taken: Iterable[tuple[str, str]]) -> str:
    """Return the import statements for pairs of a module and a name in it (empty: the module itself)."""
    whole = sorted(f"import {module}" for module, name in taken if not name)
    parts: dict[str, list[str]] = {}
    for module, name in sorted(pair for pair in taken if pair[1]):
        parts.setdefault(module, []).append(name)
    return "\n".join([*whole, *(f"from {module} import {', '.join(each)}" for module, each in parts.items())])


def _text(node: ast.stmt, lines: list[str]) -> str:
    """Return a statement's lines, with its decorators and the comment above it."""
    start = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))]) - 1
    while start and lines[start - 1].startswith("#"):
        start -= 1
    return EXAMPLE.sub("", "\n".join(lines[start : node.end_lineno]))


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    for target in targets:
        yield from (each.id for each in ast.walk(target) if isinstance(each, ast.Name)) if target else ()


def _used(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
