"""A family that a user adds: docs/add_a_family.md is run, and what it cuts is held to the laws."""

import re
from pathlib import Path

import pytest
import torch

from prune_ssl import PruneError, load_pretrained, register_family, save_pretrained
from prune_ssl.models import FAMILIES
from tests.support.keeps import masked_and_resized
from tests.support.models import batch, first_output, relative_difference

PAGE = Path(__file__).parents[2] / "docs" / "add_a_family.md"


@pytest.fixture(scope="module")
def page():
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, names)
    yield names
    del FAMILIES["voxtral_encoder"]  # other tests read the table


@pytest.mark.parametrize("kind", ["conv", "heads", "head_dim", "ffn", "block", "layer", "hidden"])
def test_what_the_page_adds_is_cut_exactly(page, kind):
    model, graph = page["model"].double(), page["graph"]
    keep = {
        name: list(range(0, group.size, 2))[: group.size // 2]
        for name, group in graph.groups.items()
        if group.kind == kind and ".1" not in name
    }
    assert keep
    masked, cut = masked_and_resized(model, graph, keep, batch(model))
    assert relative_difference(masked, cut) < 1e-9


def test_what_was_cut_is_loaded_again(page, tmp_path):
    small = page["small"].float()
    save_pretrained(small, tmp_path / "small")
    inputs = batch(small)
    wanted = first_output(small, **inputs)
    assert torch.equal(first_output(load_pretrained(tmp_path / "small"), **inputs), wanted)


def test_a_name_is_taken_once():
    hubert = FAMILIES["hubert"]
    assert register_family(hubert) is hubert
    other = type(hubert)(name="hubert", library="none")
    with pytest.raises(PruneError, match="there is a family 'hubert' already"):
        register_family(other)
