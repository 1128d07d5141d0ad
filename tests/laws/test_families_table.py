"""docs/families.md: what can be cut out of which family, found by cutting. Run this file to write it anew."""

import sys

import pytest
import torch

from prune_ssl import trace
from prune_ssl.models.registry import FAMILIES
from tests.support.keeps import masked_and_resized
from tests.support.models import FORMS, a_head_of, batch, tiny_model
from tests.support.paths import ROOT
from tests.support.torchaudio_models import masked_and_resized as masked_and_resized_torchaudio
from tests.support.torchaudio_models import tiny as tiny_torchaudio

DOCUMENT = ROOT / "docs" / "families.md"
COLUMNS = {
    "conv": "frontend channels",
    "module": "convolution module",
    "heads": "attention heads",
    "ffn": "FFN neurons",
    "block": "whole blocks",
    "layer": "whole layers",
    "hidden": "residual width",
    "head_dim": "head dimensions",
}
START = """# What can be cut out of which model

Made by `python -m tests.laws.test_families_table`, which builds a tiny random model of each family, cuts
about half of each kind of unit, and compares it with the gated model: **exact** is a difference below 1e-9
of the output's scale in float64, with a padded batch (none for torchaudio's WavLM, which takes no lengths,
and for Whisper, which pads all audio to one length: its costs are those of that length, whatever is asked).
As a test it fails when this page and the code disagree.

Units of the residual width are groups of the positional convolution (48 dimensions in Base), single
dimensions where there is none (pairs in Whisper, whose table of positions wants an even width), whole slices
of a head's size with rotary positions. WavLM's position gates
go on reading the original slices, with zeros for what is gone; tables of relative positions keep their
width; behind the upsampling of SEW and SEW-D the head's input is a group of its own, `upsampled`. Head
dimensions go from the queries, keys, values and output of a layer alike, the same in all its heads, so that
the stock attention holds what is left; the scores keep the scale of the original size (where the stock
forward takes it from the queries' width, in SEW-D and torchaudio, the difference is folded into the
queries).
"""


def kind_of(name, group):
    return "module" if name.startswith("layer.") and group.kind == "conv" else group.kind


def half(graph, kind):
    return {
        name: list(range(0, group.size, 2))[: max(group.size // 2, group.minimum)]
        for name, group in graph.groups.items()
        if kind_of(name, group) == kind and not (kind in ("block", "layer") and ".1" in name)
    }


def difference(model, graph, keep):
    if graph.family.startswith("torchaudio"):
        audio = torch.randn(2, 7000, dtype=torch.float64)
        lengths = None if "wavlm" in graph.family else torch.tensor([7000, 5000])
        masked, resized = masked_and_resized_torchaudio(model, graph, keep, audio, lengths)
    else:
        masked, resized = masked_and_resized(model, graph, keep, batch(model, 7000, True))
    return float((masked - resized).abs().max() / resized.abs().max())


def cell(model, graph, kind, notes):
    keep = half(graph, kind)
    if not keep:
        why = {"conv": "no convolutional frontend", "module": ""}.get(kind)
        if why is None:
            why = graph.not_pruned.get(kind, next(iter(graph.not_pruned.values()), ""))
        if not why:
            return "-"
        notes.setdefault(why, len(notes) + 1)
        return f"refused ({notes[why]})"
    found = difference(model, graph, keep)
    return "exact" if found < 1e-9 else f"NOT EXACT ({found:.0e})"


def document():
    torch.manual_seed(0)
    notes: dict[str, int] = {}
    lines = [f"| family | {' | '.join(COLUMNS.values())} |", "|" + "---|" * (len(COLUMNS) + 1)]
    for family in [*FAMILIES, *FORMS]:
        if family.startswith("torchaudio"):
            model = tiny_torchaudio(outputs=7, wavlm="wavlm" in family).double()
        else:
            model = tiny_model(family, a_head_of(family)).double()
        graph = trace(model)
        lines.append(
            f"| {family} | " + " | ".join(cell(model, graph, kind, notes) for kind in COLUMNS) + " |"
        )
    reasons = [f"{number}. {why}." for why, number in notes.items()]
    return "\n".join([START, *lines, "", "Refused, and why:", "", *reasons, ""])


@pytest.mark.slow
def test_the_page_says_what_cutting_shows():
    page = document()
    assert "NOT EXACT" not in page
    assert DOCUMENT.read_text() == page


if __name__ == "__main__":
    DOCUMENT.write_text(document())
    print(f"wrote {DOCUMENT}", file=sys.stderr)
