"""Speed, size and counters beside those of others, in one run.

    python benchmarks/versus_peers.py --page docs/versus_peers.md
    python benchmarks/versus_peers.py --model wav2vec2-base --seconds 1 --repeats 5

Models, all with random weights and timed in turns in eager float32 on one thread: the dense model of stock
transformers; torch-pruning's high-level pruner at a ratio of 0.5; a model of DistilHuBERT's shape; cuts of
ours to the same MACs as each; and one of DPHuBERT's published size. With --dphubert FILE, a checkpoint of
DPHuBERT, a model of exactly its widths is timed as well. Counters of others (fvcore, ptflops, thop,
torch-pruning) are compared with the exact count of `trace(model).cost()`; a counter that is not installed is
left out and named. Nothing here judges the quality of any model.
"""

import argparse
import copy
import os
from collections.abc import Callable
from datetime import date
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel

import prune_ssl
from prune_ssl.cli.console import quiet_libraries, say
from prune_ssl.importing import import_checkpoint
from prune_ssl.measuring import build_model
from prune_ssl.models import backbone_of, family_of
from prune_ssl.optimising import fold_
from prune_ssl.profiling import Timing, measure_interleaved
from prune_ssl.profiling.machine import cpu_model
from prune_ssl.tracing import PruningGraph

SAMPLE_RATE = 16_000
DISTILHUBERT_LAYERS = 2
"""DistilHuBERT keeps HuBERT-base's frontend and the first two of its twelve layers."""
DPHUBERT_PARAMS = 0.25
"""The published size of DPHuBERT is about a quarter of HuBERT-base's parameters."""


def ours_at(model: nn.Module, graph: PruningGraph, budget: str, seconds: float) -> nn.Module:
    """Return our one-shot cut to a budget."""
    return prune_ssl.resize(model, graph, prune_ssl.select(model, graph, budget, round_to=8, seconds=seconds))


def distilhubert_shaped() -> nn.Module:
    """Return a model of DistilHuBERT's shape, without its prediction heads."""
    return AutoModel.from_config(AutoConfig.for_model("hubert", num_hidden_layers=DISTILHUBERT_LAYERS))


def torch_pruned(model: nn.Module, seconds: float) -> nn.Module:
    """Return the model after torch-pruning's high-level pruner, with heads declared as its manual says.

    Its weight norm is folded first, as its users learn to do.
    """
    tp = import_module("torch_pruning")
    side_by_side = import_module("torch_pruning_side_by_side")
    model = fold_(model.train(False)).requires_grad_(True)
    heads = side_by_side.declared_heads(backbone_of(model)[1], family_of(model))
    pruner = tp.pruner.BasePruner(
        model,
        torch.randn(1, round(seconds * SAMPLE_RATE)),
        importance=tp.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.5,
        num_heads=heads,
        prune_num_heads=True,
        head_pruning_ratio=0.5,
    )
    pruner.step()
    return model


def by_fvcore(model: nn.Module, given: torch.Tensor) -> float:
    """Return the count of fvcore."""
    return float(import_module("fvcore.nn").FlopCountAnalysis(model, given).total())


def by_ptflops(model: nn.Module, given: torch.Tensor) -> float:
    """Return the count of ptflops."""
    found = import_module("ptflops").get_model_complexity_info(
        model,
        tuple(given.shape[1:]),
        as_strings=False,
        print_per_layer_stat=False,
        input_constructor=lambda shape: {"input_values": given},
    )
    return float(found[0])


def by_thop(model: nn.Module, given: torch.Tensor) -> float:
    """Return the count of thop."""
    return float(import_module("thop").profile(model, inputs=(given,), verbose=False)[0])


def by_torch_pruning(model: nn.Module, given: torch.Tensor) -> float:
    """Return the count of torch-pruning."""
    return float(import_module("torch_pruning").utils.count_ops_and_params(model, given)[0])


COUNTERS: dict[str, tuple[str, Callable[[nn.Module, torch.Tensor], float]]] = {
    "fvcore": ("fvcore", by_fvcore),
    "ptflops": ("ptflops", by_ptflops),
    "thop": ("thop", by_thop),
    "torch-pruning": ("torch_pruning", by_torch_pruning),
}


def count(build: Callable[[], nn.Module], seconds: float) -> list[list[str]]:
    """Return a row for each counter: its MACs, and its difference from the exact count."""
    exact = prune_ssl.trace(build()).cost(seconds=seconds).macs
    rows = [["prune_ssl (exact)", f"{exact / 1e9:.3f}", "0"]]
    for name, (package, counter) in COUNTERS.items():
        if find_spec(package) is None:
            rows.append([name, "-", "not installed here"])
            continue
        try:
            with torch.no_grad():
                found = counter(build().eval(), torch.randn(1, round(seconds * SAMPLE_RATE)))
        except Exception as error:  # each counter fails in its own way, which is a result
            words = " ".join(str(error).split())[:80].replace("|", "/")
            rows.append([name, "-", f"fails: {type(error).__name__}: {words}"])
            continue
        rows.append([name, f"{found / 1e9:.3f}", f"{100 * (found / exact - 1):+.1f}%"])
    return rows


def subjects(args: argparse.Namespace) -> tuple[dict[str, nn.Module], list[str]]:
    """Return the models to time, by name, and notes about those that could not be made."""
    torch.manual_seed(0)
    dense, notes = build_model(f"arch:{args.model}").eval(), []
    graph = prune_ssl.trace(dense)
    made = {"stock transformers, dense": dense}
    if find_spec("torch_pruning") is None:
        notes.append("torch-pruning is not installed, so its cut is missing.")
    else:
        torch.manual_seed(0)
        try:
            made["torch-pruning, ratio 0.5"] = torch_pruned(build_model(f"arch:{args.model}"), args.seconds)
        except Exception as error:  # its failure on a family is a result
            notes.append(f"torch-pruning fails on {args.model}: {type(error).__name__}: {str(error)[:100]}.")
    made["DistilHuBERT-shaped (2 layers)"] = distilhubert_shaped().eval()
    for name in list(made)[1:]:
        share = cost_of(made[name], args.seconds)[1] / graph.cost(seconds=args.seconds).macs
        made[f"ours, the MACs of {name}"] = ours_at(dense, graph, f"macs={100 * share:.2f}%", args.seconds)
    shaped = ours_at(dense, graph, f"params={100 * DPHUBERT_PARAMS:g}%", args.seconds)
    made["DPHuBERT-sized: 25% of the parameters, ours"] = shaped
    if args.dphubert is not None:
        made["DPHuBERT's own widths"] = import_checkpoint(args.dphubert).model
    return {name: model.eval() for name, model in made.items()}, notes


def cost_of(model: nn.Module, seconds: float) -> tuple[int, float]:
    """Return parameters and MACs, the latter as PyTorch's own counter finds them while the model runs."""
    eager: Any = copy.deepcopy(model)  # PyTorch's counter knows no fused attention
    eager.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        eager(torch.randn(1, round(seconds * SAMPLE_RATE)))
    return sum(each.numel() for each in model.parameters()), counter.get_total_flops() / 2


PAGE = """# Beside others, measured

Made by `{command}`,
{date}, {cpu}, torch {torch}, one thread, load average {load:.1f} at the end.
{model} with random weights, {seconds:g} s of audio, batch 1, eager float32. All models were timed in turns in
one process; the gain is that of the processor time (low quartile), which waiting for a core does not change.
Random weights say nothing of quality. Shapes and sizes of others are those that they publish.

{models}

MACs here are those that PyTorch's counter finds while a model runs.

## Counters

The exact count is that of `trace(model).cost()`, which counts convolutions, linear layers and attention.

{counters}
{notes}"""


def as_table(header: list[str], rows: list[list[str]]) -> str:
    """Return rows as a Markdown table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    return "\n".join([lines[0], "|---" * len(header) + "|", *lines[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="hubert-base")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--dphubert", type=Path, help="a checkpoint of DPHuBERT, for its exact widths")
    parser.add_argument("--page", type=Path, help="writes the page here")
    args: Any = parser.parse_args()
    quiet_libraries()
    models, notes = subjects(args)
    timing = Timing(seconds=args.seconds, threads=1, min_iterations=args.repeats, min_seconds=0.0)
    found = {name: each[0] for name, each in measure_interleaved(models, timing).items()}
    dense, rows = next(iter(found.values())), []
    for name, model in models.items():
        params, macs = cost_of(model, args.seconds)
        gain = (dense.processor_ms or 0) / (found[name].processor_ms or 1)
        rows.append([name, f"{params / 1e6:.1f}", f"{macs / 1e9:.2f}", f"{gain:.2f}x", str(found[name].n)])
    counters = count(lambda: build_model(f"arch:{args.model}"), args.seconds)
    text = PAGE.format(
        command=f"python benchmarks/versus_peers.py --model {args.model} --seconds {args.seconds:g} "
        f"--repeats {args.repeats} --page docs/versus_peers.md",
        date=date.today().isoformat(),
        cpu=cpu_model(),
        torch=torch.__version__,
        load=os.getloadavg()[0],
        model=args.model,
        seconds=args.seconds,
        models=as_table(["model", "parameters, M", "MACs, G", "gain", "calls"], rows),
        counters=as_table(["counter", "MACs, G", "difference"], counters),
        notes="".join(f"\n- {note}" for note in notes) + ("\n" if notes else ""),
    )
    say(text)
    if args.page is not None:
        args.page.write_text(text)


if __name__ == "__main__":
    main()
