"""The examples of the docs run as they stand and do what the text says."""

import re
from pathlib import Path

import pytest
import torch

import prune_ssl

DOCS = Path(__file__).parents[1] / "docs"
# Of Lightning's own code beside torch 2.11.
pytestmark = pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")


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
    assert right_of_40(loop, loop["small"]) >= 36


def right_of_40(loop, model):
    with torch.no_grad():
        return sum(
            int((model.eval()(**batch).logits.argmax(-1) == batch["labels"]).sum())
            for batch in loop["batches"](10)
        )


def test_lightning_trains_gates_to_the_budget(loop):
    gates, dense = loop["module"].gates, loop["graph"].cost(seconds=1.0).macs
    assert loop["trainer"].global_step == gates.steps == loop["steps"]
    assert float(gates.log_alpha.detach().std()) > 0.1  # they were trained apart
    assert float(gates.expected().detach()) == pytest.approx(gates.target(loop["steps"])[0], abs=0.03)
    assert 0.4 * dense < prune_ssl.trace(loop["lightning_small"]).cost(seconds=1.0).macs <= 0.5 * dense
    assert right_of_40(loop, loop["lightning_small"]) >= 36
    assert not [m for m in loop["dense"].modules() if hasattr(m, "prune_ssl_gate")]


def test_a_lightning_checkpoint_holds_all_that_gates_need(loop, tmp_path):
    loop["trainer"].save_checkpoint(tmp_path / "all.ckpt")
    saved = torch.load(tmp_path / "all.ckpt", weights_only=True)["state_dict"]
    model = type(loop["model"])(loop["config"])
    again = loop["Pruning"](model, loop["graph"], loop["pruning"])
    assert again.gates.finalize(untrained=True) != loop["lightning_plan"]
    again.load_state_dict(saved)
    assert again.gates.finalize() == loop["lightning_plan"]
    state, found = loop["module"].gates.get_extra_state(), again.gates.get_extra_state()
    assert found == state
    assert state["task_pull"] > 0


def test_the_plain_loop_leaves_the_model_without_gates(loop):
    assert not [m for m in loop["model"].modules() if hasattr(m, "prune_ssl_gate")]


def test_the_one_shot_example_meets_its_budget(loop):
    whole = loop["graph"].cost(seconds=1.0).macs
    assert loop["graph"].cost(loop["keep"], seconds=1.0).macs <= 0.5 * whole
    assert sum(p.numel() for p in loop["cut_once"].parameters()) < sum(
        p.numel() for p in loop["model"].parameters()
    )
