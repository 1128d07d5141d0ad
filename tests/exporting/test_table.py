"""The table of docs/exporting.md: which family exports to which target, found by exporting.

`python -m tests.exporting.test_table` fills its empty cells (`-`). The tests try the columns `onnx` and
`torchscript` in every family. The others are slow to fill: test_exports.py tries one family of each.
"""

import tempfile
from pathlib import Path

import pytest
from transformers import Wav2Vec2FeatureExtractor

from prune_ssl.errors import ExportError
from prune_ssl.exporting import write_export
from tests.support.exporting import difference, needs_onnx, pruned
from tests.support.models import HEADS, a_head_of
from tests.support.pages import part_of, put_part, table_in
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "exporting.md"
TARGETS = ("onnx", "onnx-int8", "openvino", "pt2", "torchscript")
BEGIN, END = "<!-- table: written by tests/exporting/test_table.py -->", "<!-- end of the table -->"
FAMILIES = [name for name in HEADS if "torchaudio" not in name]
FOR_SOME = "the exporter's graph holds for some lengths only: it refuses others, or gives other shapes there"
POSITIONS = {"wav2vec2-conformer": {"max_source_positions": 400}}
"""Fields of configs that are not tiny: the comparison's clips of 3 s need a longer table of positions."""


def found(family: str, target: str, place: Path) -> tuple[str, str]:
    """`exact`, or the difference of integers, and nothing; or `refused` and why."""
    exact = "near" if target == "onnx-int8" else "exact"
    for norm in ("group", "layer") if target == "onnx" else ("group",):
        model = pruned(family, a_head_of(family), norm, **POSITIONS.get(family, {}))
        processor = Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer")
        try:
            made = write_export(model, place / norm, target, processor=processor)
        except ExportError as error:
            words = str(error)
            if "does not run on" in words or "gives the shape" in words:
                return "refused", FOR_SOME
            return "refused", words.partition(". ")[0].partition(" Try another")[0]
        if exact == "exact":
            assert difference(model, made, norm == "layer") <= 1e-4
    return exact, ""


def cells_of_the_page() -> dict[tuple[str, str], str]:
    rows = table_in(part_of(DOCUMENT, BEGIN, END))
    return {(family, target): cell for family, row in rows.items() for target, cell in row.items()}


def test_the_page_has_every_family_and_target():
    found = cells_of_the_page()
    assert set(found) == {(family, target) for family in FAMILIES for target in TARGETS}
    assert {cell.split()[0] for cell in found.values()} == {"exact", "near", "refused"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TorchScript
@pytest.mark.slow
@pytest.mark.parametrize("target", [pytest.param("onnx", marks=needs_onnx), "torchscript"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_page_says_what_exporting_shows(family, target, tmp_path):
    cell, why = found(family, target, tmp_path)
    said = cells_of_the_page()[family, target]
    assert said.split()[0] == cell
    if why:
        assert reasons_of_the_page()[why] == int(said.rpartition("(")[2].rstrip(")"))


def write() -> None:
    """Write the table. Cells of the page that are not `-` stay as they are, so that it can be resumed."""
    known = {key: cell for key, cell in cells_of_the_page().items() if cell != "-"}
    notes = reasons_of_the_page()
    for target in reversed(TARGETS):  # the quick ones first
        for family in FAMILIES:
            if (family, target) in known:
                continue
            with tempfile.TemporaryDirectory() as place:
                cell, why = found(family, target, Path(place))
            if why:
                notes.setdefault(why, len(notes) + 1)
                cell += f" ({notes[why]})"
            known[family, target] = cell
            print(family, target, cell, why, flush=True)
            put(known, notes)


def reasons_of_the_page() -> dict[str, int]:
    lines = part_of(DOCUMENT, BEGIN, END).splitlines()
    found = [line.partition(". ") for line in lines if line[:1].isdigit()]
    return {why.removesuffix("."): int(number) for number, _, why in found}


def put(known: dict[tuple[str, str], str], notes: dict[str, int]) -> None:
    lines = [f"| family | {' | '.join(TARGETS)} |", "|" + "---|" * (len(TARGETS) + 1)]
    for family in FAMILIES:
        lines.append(f"| {family} | {' | '.join(known.get((family, t), '-') for t in TARGETS)} |")
    reasons = [f"{number}. {why}." for why, number in notes.items()]
    put_part(DOCUMENT, BEGIN, END, "\n".join([*lines, "", *reasons]))


if __name__ == "__main__":
    write()
