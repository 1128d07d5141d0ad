"""The examples of the docs run as they stand and do what the text says."""

import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[1] / "docs"


def run_blocks(name):
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), re.DOTALL):
        exec(compile(block, name, "exec"), names)
    return names


@pytest.fixture(scope="module")
def loop():
    return run_blocks("any_loop.md")


def test_the_plain_loop_meets_its_budget_and_the_small_model_learned(loop):
    assert 0.4 < loop["kept"] <= 0.5
    assert loop["graph"].cost(loop["plan"].keep, seconds=1.0).macs == round(
        loop["kept"] * loop["graph"].cost(seconds=1.0).macs
    )
    right = 0
    with torch.no_grad():
        for batch in loop["batches"](10):
            right += int((loop["small"](**batch).logits.argmax(-1) == batch["labels"]).sum())
    assert right >= 36


def test_the_plain_loop_leaves_the_model_without_gates(loop):
    assert not [m for m in loop["model"].modules() if hasattr(m, "prune_ssl_gate")]


def test_the_one_shot_example_meets_its_budget(loop):
    whole = loop["graph"].cost(seconds=1.0).macs
    assert loop["graph"].cost(loop["keep"], seconds=1.0).macs <= 0.5 * whole
    assert sum(p.numel() for p in loop["cut_once"].parameters()) < sum(
        p.numel() for p in loop["model"].parameters()
    )
