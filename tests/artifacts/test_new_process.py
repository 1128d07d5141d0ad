"""The table of docs/loading.md: every family, head and layout loads bit for bit in a new process.

`python -m tests.artifacts.test_new_process` writes it anew. This process saves all models. Then two others
load all folders: one in which prune_ssl is imported, and one in which it cannot be imported.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from prune_ssl import resize, save_pretrained, to_stock, trace
from prune_ssl.artifacts.remote_code import FILE
from prune_ssl.models.family import stock_class
from prune_ssl.models.registry import FAMILIES
from tests.support.keeps import ALL, UNITS, random_keep
from tests.support.models import HEADS, SUFFIXES, a_head_of, batch, first_output, tiny_model
from tests.support.pages import part_of, put_part, table_in
from tests.support.paths import ROOT

CHILD = """
import json, sys
with_prune_ssl = sys.argv[1] == "with"
if not with_prune_ssl:
    sys.modules["prune_ssl"] = None  # as where it is not installed
import torch, transformers
from operator import attrgetter
from safetensors.torch import load_file
if with_prune_ssl:
    import prune_ssl
torch.set_num_threads(1)

def verdict(folder, name, by_config):
    if with_prune_ssl and by_config:
        model = prune_ssl.load_pretrained(folder)
    else:
        code = {} if with_prune_ssl else {"trust_remote_code": True}
        model = attrgetter(name)(transformers).from_pretrained(folder, **code).eval()
    given, wanted = (load_file(f"{folder}/{name}.safetensors") for name in ("given", "wanted"))
    with torch.no_grad():
        found = model(**given)[0]
    return "equal" if torch.equal(found, wanted["wanted"]) else "other outputs"

found = {}
for folder, name in json.load(open(sys.argv[2])).items():
    if not with_prune_ssl and not name:
        continue
    found[folder] = "equal"
    for by_config in (True, False) if with_prune_ssl and name else (with_prune_ssl,):
        try:
            said = verdict(folder, name, by_config)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        if said != "equal":
            found[folder] = said
json.dump(found, open(sys.argv[3], "w"))
"""
PAGE = ROOT / "docs" / "loading.md"
BEGIN, END = "<!-- table: written by tests/artifacts/test_new_process.py -->", "<!-- end of the table -->"
FAMILY_NAMES = [name for name in HEADS if "torchaudio" not in name]
NO_CLASS = "equal; stock: with prune_ssl only"
"""Of classes that transformers lacks. Without prune_ssl no dense model of such a class is loaded either."""


def cut(family, head, layout):
    torch.manual_seed(0)
    model = tiny_model(family, head)
    graph = trace(model)
    if layout != "stock":
        kinds = ALL if layout == "all kinds" else UNITS
        return resize(model, graph, random_keep(graph, 3, kinds=kinds)).eval()
    keep = {name: range(5) for name, group in graph.groups.items() if group.kind == "ffn"}
    keep["layer.1"] = []
    if FAMILIES[family].states_conv_widths:
        keep["conv.0"] = range(7)
    return to_stock(resize(model, graph, keep)).eval()


def save(family, head, layout, folder: Path) -> str:
    """Save a cut model with an input and its output, and return the class that loads it, or "".

    It is the Auto class, or a class that the family names by its path in transformers, since no Auto class
    makes it.
    """
    model = cut(family, head, layout)
    save_pretrained(model, folder)
    given = batch(model, 6000)
    save_file(given, folder / "given.safetensors")
    save_file({"wanted": first_output(model, **given).contiguous()}, folder / "wanted.safetensors")
    assert (folder / FILE).exists() == (layout != "stock")
    stock = type(model).__name__.removeprefix("Pruned")
    models = FAMILIES[family].classes.models
    path, auto = next(each for each in models if each[0].rpartition(".")[2] == stock)
    if layout != "stock":
        return auto
    try:
        stock_class(path)
    except AttributeError:
        return ""
    return path if "." in path else auto


def cells() -> dict[str, dict[str, str]]:
    """Family -> head -> `equal`, or why not."""
    named, keys = {}, {}
    with tempfile.TemporaryDirectory() as place:
        for family in FAMILY_NAMES:
            for head in HEADS[family]:
                for layout in ("stock", "hetero", *["all kinds"] * (head == a_head_of(family))):
                    folder = Path(place, f"{family}-{head}-{layout}")
                    named[str(folder)] = save(family, head, layout, folder)
                    keys[str(folder)] = family, head, layout
        found = {
            (*keys[folder], way): said
            for way in ("with", "without")
            for folder, said in in_a_new_process(way, named, Path(place)).items()
        }
    table: dict[str, dict[str, str]] = {family: {} for family in FAMILY_NAMES}
    for family, head, layout in keys.values():
        wrong = [
            f"{layout}, {way} prune_ssl: {found[family, head, layout, way]}"
            for way in ("with", "without")
            if found.get((family, head, layout, way), "equal") != "equal"
        ]
        alone = (family, head, layout, "without") in found
        table[family][head] = wrong[0] if wrong else table[family].get(head, "equal" if alone else NO_CLASS)
    return table


def in_a_new_process(way: str, named: dict[str, str], place: Path) -> dict[str, str]:
    asked, out = place / "asked.json", place / "found.json"
    asked.write_text(json.dumps(named))
    command = [sys.executable, "-c", CHILD, way, str(asked), str(out)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    found: dict[str, str] = json.loads(out.read_text())
    return found


def cells_of_the_page() -> dict[str, dict[str, str]]:
    rows = table_in(part_of(PAGE, BEGIN, END))
    return {family: {head: cell for head, cell in row.items() if cell != "-"} for family, row in rows.items()}


def test_the_page_has_every_family_and_head():
    said = cells_of_the_page()
    assert {family: sorted(row) for family, row in said.items()} == {
        family: sorted(HEADS[family]) for family in FAMILY_NAMES
    }
    assert {cell for row in said.values() for cell in row.values()} <= {"equal", NO_CLASS}


@pytest.mark.slow
def test_every_family_head_and_layout_loads_bit_for_bit_in_a_new_process():
    assert cells() == cells_of_the_page()


def write() -> None:
    heads = [suffix for suffix in SUFFIXES if any(suffix in HEADS[family] for family in FAMILY_NAMES)]
    lines = [f"| family | {' | '.join(heads)} |", "|" + "---|" * (len(heads) + 1)]
    for family, row in cells().items():
        lines.append(f"| {family} | {' | '.join(row.get(head, '-') for head in heads)} |")
    put_part(PAGE, BEGIN, END, "\n".join(lines))


if __name__ == "__main__":
    write()
