"""Only prune_ssl.writing writes and deletes; others give it what is to be written."""

import ast
from pathlib import Path

import pytest

import prune_ssl

ROOT = Path(prune_ssl.__file__).parent
FILES = [file for file in sorted(ROOT.rglob("*.py")) if file.parent.name != "writing"]

MAKERS = {"mkdir", "makedirs", "touch", "symlink_to", "hardlink_to", "mkdtemp", "mkstemp"}
REMOVERS = {"unlink", "rmdir", "rename", "removedirs", "rmtree", "truncate"}
OF_OS = {"open", "remove", "replace", "link", "symlink"}
HARMLESS = {"shutil": {"disk_usage", "which"}, "tempfile": {"gettempdir"}}
WRITERS = {
    "write_text",
    "write_bytes",
    "save_file",
    "save_model",
    "save_weights",
    "save_pretrained",
    "savefig",
    "save_to_json",
    "to_csv",
    "tofile",
    "_save_checkpoint",
}
MODULES_THAT_WRITE = {
    ("torch", "save"),
    ("numpy", "save"),
    ("np", "save"),
    ("soundfile", "write"),
    ("json", "dump"),
}
PLACES = {"new_file", "new_folder", "_new_folder_for_all", "temporary_folder"}
ELSEWHERE = {
    ("measuring/memory.py", "write_text"): "to the kernel",
    ("reporting/plots.py", "savefig"): "to memory",
    ("runtimes/conversion.py", "save_model"): "into the temporary folder that `export` hands on",
    ("runtimes/modules.py", "save_model"): "into the temporary folder that its caller holds",
    ("exporting/exports.py", "save_pretrained"): "into the temporary folder that `export` hands on",
}
"""Where what is written goes all the same."""


def name_of(function):
    """The last name of what is called, and the one before it."""
    if isinstance(function, ast.Attribute):
        base = function.value
        return function.attr, base.id if isinstance(base, ast.Name) else ""
    return (function.id if isinstance(function, ast.Name) else ""), None


def opens_for_writing(call):
    modes = (*call.args[:2], *(key.value for key in call.keywords if key.arg == "mode"))
    texts = [mode.value for mode in modes if isinstance(mode, ast.Constant) and isinstance(mode.value, str)]
    return any(set(text) <= set("rwxabt+") and set(text) & set("wxa+") for text in texts)


def wrong_with(call, inside):
    """Why a call may not stand there; `inside`: in a `with` of one of PLACES."""
    name, base = name_of(call.func)
    if base in HARMLESS and name not in HARMLESS[base]:
        return f"{base}.{name}"
    if base == "os" and name in OF_OS:
        return f"os.{name}"
    if base is not None and name in MAKERS | REMOVERS:
        return name
    # Path.replace takes one argument, str.replace two, dataclasses.replace a mapping of changes.
    if name == "replace" and base not in (None, "dataclasses") and len(call.args) == 1 and not call.keywords:
        return name
    writes = (base is not None or name.startswith("save_")) and name in WRITERS
    ours = name == "save_pretrained" and base is None
    if (
        (writes and not ours)
        or (base, name) in MODULES_THAT_WRITE
        or (name == "open" and opens_for_writing(call))
    ):
        return None if inside else f"{name} outside a `with` of {', '.join(sorted(PLACES))}"
    return None


def faults_of(tree):
    found = []

    def visit(node, inside):
        if isinstance(node, ast.With):
            calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
            for item in node.items:
                visit(item.context_expr, inside)
            inside = inside or any(name_of(call.func)[0] in PLACES for call in calls)
            for each in node.body:
                visit(each, inside)
            return
        if isinstance(node, ast.Call) and (why := wrong_with(node, inside)):
            found.append((node.lineno, why, name_of(node.func)[0]))
        for each in ast.iter_child_nodes(node):
            visit(each, inside)

    visit(tree, False)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_other_module_writes_or_deletes_by_itself(file):
    place = str(file.relative_to(ROOT))
    found = [each for each in faults_of(ast.parse(file.read_text())) if (place, each[2]) not in ELSEWHERE]
    assert not found, f"{place} writes or deletes by itself: use prune_ssl.writing"


@pytest.mark.parametrize(
    "code",
    [
        "path.write_text('x')",
        "Path('x').write_bytes(b'x')",
        "shutil.rmtree(folder)",
        "shutil.copy(a, b)",
        "path.unlink(missing_ok=True)",
        "scratch.replace(path)",
        "os.replace(a, b)",
        "a.rename(b)",
        "save_file(state, path)",
        "torch.save(state, path)",
        "model.save_pretrained(folder)",
        "with open(path, 'w') as file:\n    file.write('x')",
        "with path.open('a', encoding='utf-8') as file:\n    pass",
        "with path.open(mode='r+') as file:\n    pass",
        "tempfile.mkdtemp()",
        "with tempfile.TemporaryDirectory() as folder:\n    pass",
        "folder.mkdir(parents=True)",
    ],
)
def test_the_search_finds_what_writes(code):
    assert faults_of(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "with new_file(path) as new:\n    save_file(state, new)",
        "with new_folder(path) as new, other():\n    model.save_pretrained(new)\n    (new / 'x').touch",
        "write_text(path, 'x')",
        "save_pretrained(model, folder)",
        "text.replace('a', 'b')",
        "dataclasses.replace(made)",
        "replace(made, name=1)",
        "path.open('rb')",
        "open(path)",
        "shutil.disk_usage(path)",
    ],
)
def test_the_search_leaves_alone_what_does_not(code):
    assert not faults_of(ast.parse(code))
