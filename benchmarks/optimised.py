"""How much faster `optimize_for_inference` makes models, dense and pruned, in eager PyTorch.

    python benchmarks/optimised.py arch:wav2vec2-base arch:wavlm-base --keep 1 0.5 0.16 --seconds 5

Model and optimised model are called in turns in one process on one thread. A ratio is the median over pairs
of neighbouring calls, of processor time. A model is a folder, a hub name, or `arch:` and an architecture,
which gets random weights; it is cut to each share of its MACs by random units. docs/optimised.md has a table.
"""

import argparse
import time

import numpy as np
import torch
from torch import nn

import prune_ssl
from prune_ssl.measuring import build_model
from prune_ssl.models.registry import input_shape
from prune_ssl.profiling import cpu_model, thread_count
from prune_ssl.profiling.machine import steady_heap


def cut(model: nn.Module, share: float, seconds: float) -> nn.Module:
    if share >= 1:
        return model
    graph = prune_ssl.trace(model)
    budget = f"macs={100 * share:g}%"
    keep = prune_ssl.select(model, graph, budget, criterion="random", seconds=seconds)
    return prune_ssl.resize(model, graph, keep).eval()


def processor_seconds(model: nn.Module, audio: torch.Tensor) -> float:
    start = time.process_time()
    model(audio)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+")
    parser.add_argument("--keep", type=float, nargs="+", default=[1.0, 0.5, 0.16], help="shares of the MACs")
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0], help="audio lengths")
    parser.add_argument("--pairs", type=int, default=9)
    args = parser.parse_args()
    torch.manual_seed(0)
    print(f"{cpu_model()}, torch {torch.__version__}, 1 thread, {args.pairs} pairs")
    print("| model | MACs kept | audio | as it is | optimised | ratio (quartiles) | difference |")
    print("|---|---|---|---|---|---|---|")
    for name in args.models:
        for share in args.keep:
            model = cut(build_model(name).eval(), share, args.seconds[0])
            fast = prune_ssl.optimize_for_inference(model)
            for seconds in args.seconds:
                row(f"{name} | {100 * share:g}%", model, fast, seconds, args.pairs)


def row(title: str, model: nn.Module, fast: nn.Module, seconds: float, pairs: int) -> None:
    audio = 0.1 * torch.randn(input_shape(model, seconds))
    with torch.inference_mode(), thread_count(1), steady_heap():
        wanted, found = model(audio)[0], fast(audio)[0]
        times = np.array([[processor_seconds(each, audio) for each in (model, fast)] for _ in range(pairs)])
    low, middle, high = np.quantile(times[:, 0] / times[:, 1], [0.25, 0.5, 0.75])
    plain, faster = 1000 * np.median(times, axis=0)
    off = float((found - wanted).abs().max() / wanted.abs().max())
    ratio = f"{middle:.3f} ({low:.3f} to {high:.3f})"
    print(f"| {title} | {seconds:g} s | {plain:.0f} ms | {faster:.0f} ms | {ratio} | {off:.0e} |", flush=True)


if __name__ == "__main__":
    main()
