"""A gated training step against a plain fine-tuning step of the same model, in turns in one process.

    python benchmarks/training_overhead.py --batch 2 --seconds 5 --threads 1 --steps 30

A step is forward, backward and an AdamW update of the weights; the gated one also draws gates, adds the
penalty of the budget and updates gates and multipliers. Two copies of the model start from the same weights
and see the same batch. CPU seconds are printed beside wall-clock ones: on a shared machine they are steadier.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForAudioClassification

import prune_ssl
from prune_ssl.measuring import describe_environment
from prune_ssl.measuring.benchmark import ARCHITECTURES

LABELS = 12


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", choices=ARCHITECTURES, default="wav2vec2-base")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="audio length of each clip")
    parser.add_argument("--steps", type=int, default=30, help="timed steps of each kind")
    parser.add_argument("--warmup", type=int, default=2, help="untimed steps of each kind before")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--budget", default="macs=50%")
    parser.add_argument("--out", type=Path, help="writes the result as JSON")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    waveforms = torch.randn(args.batch, round(args.seconds * 16_000), device=args.device)
    labels = torch.randint(LABELS, (args.batch,), device=args.device)
    plain, gated = build(args.arch, args.device), build(args.arch, args.device)
    gated.load_state_dict(plain.state_dict())
    graph = prune_ssl.trace(gated)
    config = prune_ssl.PruningConfig(budget=args.budget, steps=args.steps + args.warmup)
    gates = prune_ssl.attach_gates(gated, graph, config)
    steps = {
        "plain": make_step(plain, waveforms, labels, None),
        "gated": make_step(gated, waveforms, labels, gates),
    }
    times, busy = time_in_turns(steps, args.steps, args.warmup, args.device)
    ratio, pairs = ratio_of(times)
    cpu_ratio, cpu_pairs = ratio_of(busy)
    result = {
        "arguments": {name: str(value) for name, value in vars(args).items() if name != "out"},
        "median_ms": {name: statistics.median(values) for name, values in times.items()},
        "times_ms": times,
        "ratio": ratio,
        "pair_ratios": pairs,
        "cpu_ms": busy,
        "cpu_ratio": cpu_ratio,
        "cpu_pair_ratios": cpu_pairs,
        "environment": describe_environment(plain),
    }
    for name, values in times.items():
        print(f"{name}: median {statistics.median(values):.1f} ms, {spread(values, 'ms')}, n {len(values)}")
    print(f"gated / plain: {ratio:.3f} (ratio of medians); pair by pair: {spread(pairs, '', 3)}")
    print(f"the same in CPU seconds: {cpu_ratio:.3f}; pair by pair: {spread(cpu_pairs, '', 3)}")
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def build(architecture: str, device: str) -> nn.Module:
    """Return a classifier with random weights; layer drop and masking, which make steps unequal, are off."""
    model_type, changes = ARCHITECTURES[architecture]
    still = {"layerdrop": 0.0, "apply_spec_augment": False, "num_labels": LABELS}
    config = AutoConfig.for_model(model_type, **changes, **still)
    model = AutoModelForAudioClassification.from_config(config)
    assert isinstance(model, nn.Module)
    return model.to(device).train()


def make_step(
    model: nn.Module, waveforms: torch.Tensor, labels: torch.Tensor, gates: prune_ssl.Gates | None
) -> Callable[[int], None]:
    """Return a function that makes the training step of the given number."""
    groups = [{"params": list(model.parameters()), "lr": 1e-5}]
    optimizer = torch.optim.AdamW(groups + ([] if gates is None else gates.parameter_groups()), lr=1e-5)

    def step(number: int) -> None:
        loss = model(waveforms, labels=labels).loss
        if gates is not None:
            loss = loss + gates.penalty(number)
        loss.backward()
        optimizer.step()
        if gates is not None:
            gates.clamp_()
        optimizer.zero_grad()

    return step


def time_in_turns(
    steps: dict[str, Callable[[int], None]], count: int, warmup: int, device: str
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return wall-clock and CPU milliseconds of each step: A B, B A, ... so that drift hits both alike."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    busy: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps)
    for number in range(warmup + count):
        for name in order:
            start, start_cpu = time.perf_counter(), time.process_time()
            steps[name](number)
            if device.startswith("cuda"):
                torch.cuda.synchronize(device)
            if number >= warmup:
                times[name].append(1000 * (time.perf_counter() - start))
                busy[name].append(1000 * (time.process_time() - start_cpu))
        order.reverse()
    return times, busy


def ratio_of(times: dict[str, list[float]]) -> tuple[float, list[float]]:
    """Return the ratio of medians, and that of each pair of neighbours: how steady the first one is."""
    pairs = [gated / plain for gated, plain in zip(times["gated"], times["plain"], strict=True)]
    return statistics.median(times["gated"]) / statistics.median(times["plain"]), pairs


def spread(values: list[float], unit: str, digits: int = 1) -> str:
    """Return the 10th and 90th percentile and the median as text."""
    points = torch.tensor(values, dtype=torch.float64).quantile(
        torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    )
    p10, p50, p90 = points.tolist()
    return f"p10 {p10:.{digits}f}, p50 {p50:.{digits}f}, p90 {p90:.{digits}f} {unit}"


if __name__ == "__main__":
    sys.exit(main())
