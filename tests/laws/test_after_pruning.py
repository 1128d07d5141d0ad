"""docs/after_pruning.md: what a pruned folder of each family still does. Run this file to write it anew.

One tiny pruned model of each family is saved once, and every check loads that folder.
"""

import re
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import transformers
from torch import nn
from transformers import Trainer

from prune_ssl import PruneError, load_pretrained, resize, save_pretrained, select, trace
from prune_ssl.models.checkpointing import checkpointing_layers
from prune_ssl.models.registry import FAMILIES
from tests.support.models import ONE_OF_EACH, batch, first_output, relative_difference, tiny_model
from tests.support.paths import ROOT
from tests.support.slow import slow_but
from tests.support.training import quiet_arguments

DOCUMENT = ROOT / "docs" / "after_pruning.md"
NAMES = [family for family, _, _ in ONE_OF_EACH]
HEAD = {family: head for family, head, _ in ONE_OF_EACH}
AUTO = {
    "Model": "AutoModel",
    "ForCTC": "AutoModelForCTC",
    "ForAudioClassification": "AutoModelForAudioClassification",
}
START = """# After pruning, still a model

Made by `python -m tests.laws.test_after_pruning` from a tiny pruned model of each family, whose layers differ
in their heads and neurons. As a test it fails when this page and the code disagree.

- **LoRA**: peft puts adapters on all Linear modules of the layers. One step trains every adapter. The adapter
  saved by itself, and the merged model saved by `save_pretrained`, give the same outputs.
- **Trainer**: a step of transformers' own Trainer changes the weights, and the folder that it saves loads.
- **Prune again**: trace, select, resize and save as for a dense model.
- **device_map**: `from_pretrained(folder, device_map=...)` of the Auto class gives the same outputs.
- **bfloat16**, **float16**: saved and loaded in that dtype by the Auto class; outputs stay near those of
  float32.
- **Shards**: `save_pretrained(max_shard_size=...)` writes several files, which load bit for bit.
- **Checkpointing**: with gradient checkpointing the gradients are the same.
"""


@cache
def folder_of(family: str) -> Path:
    """The folder of a pruned model; the process deletes it at its end."""
    _KEPT.append(place := tempfile.TemporaryDirectory())
    torch.manual_seed(0)
    model = tiny_model(family, HEAD[family])
    graph = trace(model)
    keep = {"layer.0.heads": [0, 2], "layer.1.heads": [1]}
    keep |= {name: range(5) for name in graph.groups if re.fullmatch(r"layer\.[01]\.ffn1?", name)}
    return save_pretrained(resize(model, graph, keep), Path(place.name) / "model")


_KEPT: list[tempfile.TemporaryDirectory] = []


def outputs(model: nn.Module, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The logits for the same audio in any dtype."""
    torch.manual_seed(1)
    inputs = batch(model.eval().float(), 6000)
    return first_output(model.to(dtype), **{name: value.to(dtype) for name, value in inputs.items()})


def auto_of(family: str):
    return getattr(transformers, AUTO[HEAD[family]])


def lora(family: str, place: Path) -> None:
    import peft

    model = load_pretrained(folder_of(family))
    wanted = outputs(model)
    layers = FAMILIES[family].layers_path
    linear = [
        name for name, each in model.named_modules() if isinstance(each, nn.Linear) and f"{layers}." in name
    ]
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=linear))
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], 0.1)
    torch.manual_seed(1)
    adapted(**batch(model, 6000))[0].square().mean().backward()
    adapters = {name: value for name, value in adapted.named_parameters() if "lora_B" in name}
    assert len(adapters) == len(linear)
    idle = [name for name, value in adapters.items() if value.grad is None or not value.grad.any()]
    assert not idle, idle
    optimizer.step()
    trained = outputs(model)
    assert relative_difference(trained, wanted) > 1e-6
    adapted.save_pretrained(place / "adapter")
    again = peft.PeftModel.from_pretrained(load_pretrained(folder_of(family)), place / "adapter")
    assert relative_difference(outputs(again.get_base_model()), trained) < 1e-5
    merged = save_pretrained(adapted.merge_and_unload(), place / "merged")
    assert relative_difference(outputs(load_pretrained(merged)), trained) < 1e-5


def _power(found, _labels, num_items_in_batch=None):
    """A loss for a model without a head."""
    return found[0].square().mean()


def trainer(family: str, place: Path) -> None:
    model = load_pretrained(folder_of(family))
    before = outputs(model)
    inputs = {name: value[0] for name, value in batch(model, 6000, rows=1).items()}
    labels = torch.tensor([1, 2]) if HEAD[family] == "ForCTC" else torch.tensor(1)
    arguments = quiet_arguments(place / "run", max_steps=1, learning_rate=1e-2, label_names=["labels"])
    run = Trainer(
        model=model,
        args=arguments,
        train_dataset=[inputs | {"labels": labels}],
        compute_loss_func=_power if HEAD[family] == "Model" else None,
    )
    run.train()
    run.save_model(str(place / "trained"))
    after = outputs(model)
    assert relative_difference(after, before) > 1e-6
    assert torch.equal(outputs(load_pretrained(place / "trained")), after)


def prune_again(family: str, place: Path) -> None:
    model = load_pretrained(folder_of(family))
    graph = trace(model)
    keep = select(model, graph, "params=90%", "magnitude", round_to=1)
    small = resize(model, graph, keep)
    assert small.num_parameters() < model.num_parameters()
    assert torch.equal(outputs(load_pretrained(save_pretrained(small, place / "small"))), outputs(small))


def device_map(family: str, place: Path) -> None:
    wanted = outputs(load_pretrained(folder_of(family)))
    for where in ("cpu", "auto", {"": "cpu"}):
        model = auto_of(family).from_pretrained(folder_of(family), device_map=where)
        assert relative_difference(outputs(model), wanted) < 1e-5


def halves(dtype: torch.dtype) -> Callable[[str, Path], None]:
    def check(family: str, place: Path) -> None:
        whole = load_pretrained(folder_of(family))
        folder = save_pretrained(whole, place / "half", dtype=dtype)
        model = auto_of(family).from_pretrained(folder, dtype=dtype)
        assert {value.dtype for value in model.parameters()} == {dtype}
        assert relative_difference(outputs(model, dtype).float(), outputs(whole)) < 0.1

    return check


def shards(family: str, place: Path) -> None:
    model = load_pretrained(folder_of(family))
    folder = save_pretrained(model, place / "shards", max_shard_size="8KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert torch.equal(outputs(load_pretrained(folder)), outputs(model))


def checkpointing(family: str, place: Path) -> None:
    model = load_pretrained(folder_of(family))
    found = []
    for on in (False, True):
        if on:
            model.activation_checkpointing_enable()
            assert checkpointing_layers(model.train())
        model.train().zero_grad()
        torch.manual_seed(2)
        model(**batch(model, 6000))[0].square().mean().backward()
        found.append([value.grad.clone() for value in model.parameters() if value.grad is not None])
    assert len(found[0]) > 10
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


CHECKS: dict[str, Callable[[str, Path], None]] = {
    "LoRA": lora,
    "Trainer": trainer,
    "prune again": prune_again,
    "device_map": device_map,
    "bfloat16": halves(torch.bfloat16),
    "float16": halves(torch.float16),
    "shards": shards,
    "checkpointing": checkpointing,
}


def cell(family: str, check: str) -> str:
    with tempfile.TemporaryDirectory() as place:
        try:
            CHECKS[check](family, Path(place))
        except PruneError as error:
            return f"refused: {error}"
    return "works"


def rows() -> dict[str, dict[str, str]]:
    """The cells that the page states."""
    table = [line.strip("| \n").split(" | ") for line in DOCUMENT.read_text().splitlines() if line[:1] == "|"]
    return {line[0]: dict(zip(table[0][1:], line[1:], strict=True)) for line in table[2:]}


# peft reads an attribute of models by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
NEEDS_PEFT = pytest.mark.skipif(not find_spec("peft"), reason="peft is not installed")


@pytest.mark.parametrize("check", [pytest.param("LoRA", marks=NEEDS_PEFT), *list(CHECKS)[1:]])
@pytest.mark.parametrize("family", slow_but(["hubert", "wavlm"], NAMES))
def test_a_pruned_folder_is_still_a_model(family, check):
    assert cell(family, check) == rows()[family][check]


def test_the_page_has_every_family_and_its_text_is_that_of_the_test():
    assert list(rows()) == NAMES
    assert DOCUMENT.read_text().startswith(START)


if __name__ == "__main__":
    lines = [f"| family | {' | '.join(CHECKS)} |", "|" + "---|" * (len(CHECKS) + 1)]
    lines += [f"| {family} | {' | '.join(cell(family, check) for check in CHECKS)} |" for family in NAMES]
    DOCUMENT.write_text("\n".join([START, *lines, ""]))
    print(f"wrote {DOCUMENT}", file=sys.stderr)
