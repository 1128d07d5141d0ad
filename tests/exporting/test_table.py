"""The table of docs/exporting.md: which family exports to which target, found by exporting.

`python -m tests.exporting.test_table` writes it anew. The tests try the column `onnx` in every family; the
other columns are slow to fill, so tests hold them to account for one family each (see test_exports.py).
"""

import tempfile
from pathlib import Path

import pytest
from transformers import Wav2Vec2FeatureExtractor

from prune_ssl.errors import ExportError
from prune_ssl.exporting import write_export
from tests.support.exporting import difference, needs_onnx, pruned
from tests.support.models import HEADS, a_head_of
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "exporting.md"
TARGETS = ("onnx", "onnx-int8", "openvino", "pt2", "torchscript")
BEGIN, END = "<!-- table: written by tests/exporting/test_table.py -->", "<!-- end of the table -->"
FAMILIES = [name for name in HEADS if "torchaudio" not in name]
BAKED = "the exporter bakes a length into the graph, so it does not run at others"


def found(family: str, target: str, place: Path) -> tuple[str, str]:
    """`exact`, or the difference of integers, and nothing; or `refused` and why."""
    exact = "near" if target == "onnx-int8" else "exact"
    for norm in ("group", "layer") if target == "onnx" else ("group",):
        model = pruned(family, a_head_of(family), norm)
        processor = Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer")
        try:
            made = write_export(model, place / norm, target, processor=processor)
        except ExportError as error:
            words = str(error)
            if "does not run on" in words or "gives the shape" in words:
                return "refused", BAKED
            return "refused", words.partition(". ")[0].partition(" Try another")[0]
        if exact == "exact":
            assert difference(model, made, norm == "layer") <= 1e-4
    return exact, ""


def cells_of_the_page() -> dict[tuple[str, str], str]:
    lines = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    columns, _, *rest = rows
    return {(row[0], column): cell for row in rest for column, cell in zip(columns[1:], row[1:], strict=True)}


def test_the_page_has_every_family_and_target():
    assert set(cells_of_the_page()) == {(family, target) for family in FAMILIES for target in TARGETS}


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_page_says_what_exporting_to_onnx_shows(family, tmp_path):
    assert cells_of_the_page()[family, "onnx"].split()[0] == found(family, "onnx", tmp_path)[0]


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
    lines = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0].splitlines()
    found = [line.partition(". ") for line in lines if line[:1].isdigit()]
    return {why.removesuffix("."): int(number) for number, _, why in found}


def put(known: dict[tuple[str, str], str], notes: dict[str, int]) -> None:
    lines = [f"| family | {' | '.join(TARGETS)} |", "|" + "---|" * (len(TARGETS) + 1)]
    for family in FAMILIES:
        lines.append(f"| {family} | {' | '.join(known.get((family, t), '-') for t in TARGETS)} |")
    reasons = [f"{number}. {why}." for why, number in notes.items()]
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    text = "\n".join([BEGIN, "", *lines, "", *reasons, *([""] if reasons else []), END])
    DOCUMENT.write_text(f"{before}{text}{after}")


if __name__ == "__main__":
    write()
