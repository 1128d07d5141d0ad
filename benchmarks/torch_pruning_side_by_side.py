"""Compare torch-pruning's own high-level pruner with prune_ssl on the same models.

    python benchmarks/torch_pruning_side_by_side.py --layers 4 --out docs/torch_pruning.md

Both are asked to halve every model: torch-pruning by a pruning ratio of 0.5 with magnitude importance (heads
declared as its documentation says, the output head ignored; once as the model is, and once with its weight
norms folded, as its users learn to do), prune_ssl by macs=50% with the magnitude criterion. Random weights,
one process.
"""

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import torch
import torch_pruning as tp
import transformers
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from prune_ssl import resize, select, trace
from prune_ssl.cli.console import quiet_libraries
from prune_ssl.models import FAMILIES, Family, backbone_of
from prune_ssl.models.layers import is_alive, stated_size
from prune_ssl.models.registry import input_shape

COLUMNS = (
    "model",
    "torch-pruning",
    "its q/k/v",
    "its MACs by itself",
    "counted",
    "time s",
    "prune_ssl",
    "its MACs",
    "counted",
    "time s",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=4, help="encoder layers; widths are the defaults")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--families", nargs="*", default=[n for n, f in FAMILIES.items() if f.classes])
    parser.add_argument("--out", type=Path, help="writes the table as Markdown")
    args = parser.parse_args()
    quiet_libraries()
    torch.manual_seed(0)
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for name in args.families:
        family, model = FAMILIES[name], build(FAMILIES[name], args.layers)
        made = ours(model, args.seconds)
        for label, folded in ((name, False), (f"{name}, weight norm folded", True)):
            cells = [label, *theirs(copy.deepcopy(model), family, args.seconds, folded), *made]
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    if args.out:
        args.out.write_text(page(lines, args), encoding="utf-8")


def build(family: Family, layers: int) -> Any:
    """Return a CTC model of the family's default widths with random weights."""
    config = family.stock("config")(num_hidden_layers=layers, attn_implementation="eager", vocab_size=32)
    return getattr(transformers, family.stock("bare").__name__.removesuffix("Model") + "ForCTC")(
        config
    ).eval()


def theirs(model: Any, family: Family, seconds: float, folded: bool) -> list[str]:
    """Prune with torch-pruning's BasePruner, and return the outcome."""
    for module in list(model.modules()) if folded else ():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    inputs = torch.randn(input_shape(model, seconds))
    backbone = backbone_of(model)[1]
    before = [projection_widths(layer, family) for layer in family.layers(backbone)]
    start = time.perf_counter()
    try:
        pruner = tp.pruner.BasePruner(
            model,
            inputs,
            importance=tp.importance.MagnitudeImportance(p=2),
            pruning_ratio=0.5,
            ignored_layers=[model.lm_head],
            num_heads=declared_heads(backbone, family),
            prune_num_heads=True,
            head_pruning_ratio=0.5,
        )
        pruner.step()
    except Exception as error:  # whatever it raises is the cell
        return [f"fails to prune: {quoted(error)}", "-", "-", "-", f"{time.perf_counter() - start:.1f}"]
    took = f"{time.perf_counter() - start:.1f}"
    after = [projection_widths(layer, family) for layer in family.layers(backbone)]
    pruned = "pruned" if after != before else "left whole"
    try:
        macs = f"{tp.utils.count_ops_and_params(model, inputs)[0] / 1e9:.3f} G"
        counted = f"{counted_macs(model, inputs) / 1e9:.3f} G"
    except Exception as error:
        return [f"pruned model fails: {quoted(error)}", pruned, "-", "-", took]
    return ["runs", pruned, macs, counted, took]


def declared_heads(backbone: nn.Module, family: Family) -> dict[nn.Module, int]:
    """Return the number of heads of every query, key and value projection, as torch-pruning wants it."""
    heads: dict[nn.Module, int] = {}
    for layer in family.layers(backbone):
        block = layer.get_submodule(family.attention.path)
        for leaf in family.attention.projections:
            linear: Any = block.get_submodule(leaf)
            heads[linear] = linear.out_features // stated_size(block, family.attention.head_size)
    return heads


def projection_widths(layer: nn.Module, family: Family) -> list[int]:
    if not is_alive(layer, family.attention):
        return []
    block = layer.get_submodule(family.attention.path)
    return [block.get_submodule(leaf).weight.shape[0] for leaf in family.attention.projections]  # type: ignore[union-attr,index]


def ours(model: Any, seconds: float) -> list[str]:
    """Prune with prune_ssl, and return the outcome."""
    start = time.perf_counter()
    graph = trace(model)
    keep = select(model, graph, "macs=50%", seconds=seconds)
    small = resize(model, graph, keep)
    took = time.perf_counter() - start
    small.set_attn_implementation("eager")  # type: ignore[operator]
    macs = graph.cost(keep, seconds).macs
    counted = counted_macs(small, torch.randn(input_shape(model, seconds)))
    share = 100 * macs / graph.cost(seconds=seconds).macs
    return [f"runs ({share:.2f}% of MACs)", f"{macs / 1e9:.3f} G", f"{counted / 1e9:.3f} G", f"{took:.1f}"]


def counted_macs(model: nn.Module, inputs: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(inputs)
    return int(counter.get_total_flops()) // 2


def quoted(error: Exception) -> str:
    """Return the first line of an error, short enough for a table."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"`{type(error).__name__}: {first[:110]}`".replace("|", "/")


def page(lines: list[str], args: argparse.Namespace) -> str:
    versions = f"torch-pruning {tp.__version__}, transformers {transformers.__version__}"
    command = f"python benchmarks/torch_pruning_side_by_side.py --layers {args.layers}"
    note = (
        "# torch-pruning's high-level pruner and prune_ssl, side by side\n\n"
        f"Made by `{command}` ({versions}, torch {torch.__version__}): CTC models of the families' default\n"
        f"widths with {args.layers} encoder layers and random weights, MACs at {args.seconds:g} s.\n"
        'Both were asked to halve the model (the script says how). The columns "counted" are\n'
        "`torch.utils.flop_counter` on the result, with eager attention.\n\n"
    )
    return note + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
