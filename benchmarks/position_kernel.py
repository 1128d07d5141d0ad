"""Savings and costs of a narrower or low-rank positional convolution, compared with as many FFN weights.

    python benchmarks/position_kernel.py --recovery 40 --out out/position

Each variant of a trained keyword model (the shipped one, on the shipped words) is judged on the test split
right away, and again after so many steps of recovery, in which the uncut model takes part as the control.
Results are kept in OUT, and finished ones are not repeated. docs/position.md has the table.
"""

import argparse
import copy
import json
from collections.abc import Iterator
from math import prod
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import get_linear_schedule_with_warmup
from transformers.models.hubert.modeling_hubert import HubertPositionalConvEmbedding

from prune_ssl import resize, select, trace
from prune_ssl.assets import DEMO_MODEL_DIR, WORDS_DIR
from prune_ssl.cli.console import quiet_libraries
from prune_ssl.data import Augmentation, ClipDataset, FolderConfig, check_folder
from prune_ssl.models import load_model
from prune_ssl.tasks import TaskSettings, task_class
from prune_ssl.tasks.inference import load_extractor

LEARNING_RATE, BATCH = 5e-4, 32


def position_of(model: nn.Module) -> HubertPositionalConvEmbedding:
    return next(each for each in model.modules() if isinstance(each, HubertPositionalConvEmbedding))


def narrow_(model: nn.Module, taps: int) -> float:
    """Keep the innermost taps, exactly: weight norm has a magnitude for each. Return the part kept."""
    conv = position_of(model).conv
    every = conv.kernel_size[0]
    first = every // 2 - taps // 2
    norms = conv.parametrizations.weight
    for name in ("original0", "original1"):
        setattr(norms, name, nn.Parameter(getattr(norms, name).detach()[..., first : first + taps].clone()))
    conv.kernel_size, conv.padding = (taps,), (taps // 2,)
    return taps / every


def factorise_(model: nn.Module, rank: int) -> float:
    """Split every group's matrix (out, in * taps) into the best factors of a rank. Return the part kept."""
    embed = position_of(model)
    old, groups = embed.conv, embed.conv.groups
    weight = old.weight.detach()
    left, values, right = torch.linalg.svd(
        weight.view(groups, -1, prod(weight.shape[1:])), full_matrices=False
    )
    options = {"groups": groups, "padding": old.padding}
    inner = nn.Conv1d(old.in_channels, groups * rank, old.kernel_size, bias=False, **options)
    outer = nn.Conv1d(groups * rank, old.out_channels, 1, groups=groups)
    with torch.no_grad():
        inner.weight.copy_((values[:, :rank, None] * right[:, :rank]).reshape(inner.weight.shape))
        outer.weight.copy_(left[:, :, :rank].reshape(outer.weight.shape))
        outer.bias.copy_(old.bias)
    embed.conv = nn.Sequential(inner, outer)
    return (inner.weight.numel() + outer.weight.numel()) / weight.numel()


def variants(dense: nn.Module, seconds: float = 1.0) -> Iterator[tuple[str, nn.Module, float, float]]:
    """Yield (name, model, parameters, MACs): uncut, narrower kernels, low rank, and FFN neurons instead."""
    graph = trace(dense)
    whole = graph.cost(seconds=seconds)
    position = whole.by_section["position"]
    yield "uncut", copy.deepcopy(dense), whole.params, whole.macs
    for name, change_, amount in (
        *((f"{taps} taps", narrow_, taps) for taps in (16, 8, 4)),
        *((f"rank {rank}", factorise_, rank) for rank in (8, 4, 2)),
    ):
        small = copy.deepcopy(dense)
        part = change_(small, amount)
        params = sum(parameter.numel() for parameter in small.parameters())
        yield name, small, params, whole.macs - (1 - part) * position.macs
        keep = select(dense, graph, f"params={params}", kinds=("ffn",), round_to=1)
        cost = graph.cost(keep, seconds)
        yield f"FFN as {name}", resize(dense, graph, keep), cost.params, cost.macs


def fit_(model: nn.Module, loader: DataLoader, steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    model.train()
    for _, batch in zip(range(steps), endless(loader), strict=False):
        model(**batch).loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    model.eval()


def endless(loader: DataLoader) -> Iterator[dict[str, torch.Tensor]]:
    while True:
        yield from loader


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader) -> float:
    found = [model(**batch).logits.argmax(-1) == batch["labels"] for batch in loader]
    return 100 * float(torch.cat(found).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recovery", type=int, default=40, help="steps (0: none)")
    parser.add_argument("--only", nargs="*", help="names of the variants that are trained too")
    parser.add_argument("--out", type=Path, default=Path("out/position"))
    args = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    clips = check_folder(WORDS_DIR, FolderConfig(target="label"))
    loaded = load_model(DEMO_MODEL_DIR)
    task = task_class("classification").from_folder(clips, loaded, TaskSettings())
    dense = task.head.put_on(loaded).eval()
    collate = task.collator(load_extractor(str(DEMO_MODEL_DIR)))
    ordered = sorted(clips.splits["test"], key=lambda clip: clip.seconds)
    judged = DataLoader(ClipDataset(ordered, task.encode_judged), BATCH, collate_fn=collate)
    heard = ClipDataset(clips.splits["train"], task.encode, augmentation=Augmentation())
    whole, path = trace(dense).cost(seconds=1.0), args.out / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for name, model, params, macs in variants(dense):
        found = results.setdefault(name, {})
        if "cut" not in found:
            found |= {"params": 100 * params / whole.params, "macs": 100 * macs / whole.macs}
            found["cut"] = accuracy(model, judged)
        if args.recovery and "recovered" not in found and (args.only is None or name in args.only):
            torch.manual_seed(0)
            fit_(model, DataLoader(heard, BATCH, shuffle=True, collate_fn=collate), args.recovery)
            found["recovered"] = accuracy(model, judged)
        path.write_text(json.dumps(results, indent=1))
    print("| variant | parameters | MACs (1 s) | right away | recovered |\n|---|---|---|---|---|")
    for name, found in results.items():
        recovered = f"{found['recovered']:.1f}" if "recovered" in found else "-"
        print(
            f"| {name} | {found['params']:.1f}% | {found['macs']:.1f}% | {found['cut']:.1f} | {recovered} |"
        )


if __name__ == "__main__":
    main()
