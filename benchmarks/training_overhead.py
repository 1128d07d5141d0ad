"""Compare a gated training step with a plain fine-tuning step of the same model, timed in turns.

    python benchmarks/training_overhead.py --batch 2 --seconds 5 --threads 1 --steps 30

A step is forward, backward and an AdamW update of the weights; the gated one also draws gates, adds the
penalty of the budget and updates gates and multipliers. One model takes all the steps, and gates are
attached and detached outside the timed part, because two copies of a model in two places of memory differ by
up to 5%. A second plain step is timed as the control: the difference of its ratio from 1 is the noise of this
machine. CPU seconds are printed as well as wall-clock seconds, because they are steadier on a shared machine.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch
from timing import timed
from torch import nn
from transformers import AutoConfig, AutoModelForAudioClassification

import prune_ssl
from prune_ssl.families.published import ARCHITECTURES
from prune_ssl.measuring import describe_environment

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
    model = build(args.arch, args.device)
    graph = prune_ssl.trace(model)
    config = prune_ssl.PruningConfig(budget=args.budget, steps=3 * (args.steps + args.warmup))
    stepper = Stepper(model, graph, config, waveforms, labels)
    kinds = {"plain": False, "gated": True, "control": False}
    times, busy = time_in_turns(stepper, kinds, args.steps, args.warmup, args.device)
    result = {
        "arguments": {name: str(value) for name, value in vars(args).items() if name != "out"},
        "median_ms": {name: statistics.median(values) for name, values in times.items()},
        "times_ms": times,
        "cpu_ms": busy,
        "ratios": {
            f"{kind} {unit}": ratio_of(values, kind)
            for kind in ("gated", "control")
            for unit, values in (("wall", times), ("cpu", busy))
        },
        "environment": describe_environment(model),
    }
    for name, values in times.items():
        print(f"{name}: median {statistics.median(values):.1f} ms, {spread(values, 'ms')}, n {len(values)}")
    for name, (ratio, pairs) in result["ratios"].items():
        print(f"{name} / plain: {ratio:.3f} (ratio of medians); turn by turn: {spread(pairs, '', 3)}")
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


class Stepper:
    """Makes training steps of one model, with and without gates."""

    def __init__(
        self,
        model: nn.Module,
        graph: prune_ssl.PruningGraph,
        config: prune_ssl.PruningConfig,
        waveforms: torch.Tensor,
        labels: torch.Tensor,
    ) -> None:
        self.model, self.graph, self.config = model, graph, config
        self.batch = {"input_values": waveforms, "labels": labels}
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
        self.gates: prune_ssl.Gates | None = None

    def attach(self, gated: bool) -> None:
        """Attach gates, or take them off."""
        if self.gates is not None:
            self.gates.detach()
            self.gates = None
        if gated:
            self.gates = prune_ssl.attach_gates(self.model, self.graph, self.config)
            self.gates_optimizer = torch.optim.AdamW(self.gates.parameter_groups())

    def step(self, number: int) -> None:
        """Make the training step of the given number."""
        loss = self.model(**self.batch).loss
        if self.gates is not None:
            loss = loss + self.gates.penalty(number)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.gates is not None:
            self.gates_optimizer.step()
            self.gates.clamp_()
            self.gates_optimizer.zero_grad()


def time_in_turns(
    stepper: Stepper, kinds: dict[str, bool], count: int, warmup: int, device: str
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return wall-clock and CPU milliseconds of each step: A B C, B C A, ... so that drift hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in kinds}
    busy: dict[str, list[float]] = {name: [] for name in kinds}
    order = list(kinds)
    for turn in range(warmup + count):
        for place, name in enumerate(order):
            stepper.attach(kinds[name])
            with timed(device, times[name], busy[name], turn >= warmup):
                stepper.step(len(kinds) * turn + place)
        order.append(order.pop(0))
    return times, busy


def ratio_of(times: dict[str, list[float]], kind: str) -> tuple[float, list[float]]:
    """Return the ratio to plain steps of medians, and that of each turn: how steady the first one is."""
    pairs = [mine / plain for mine, plain in zip(times[kind], times["plain"], strict=True)]
    return statistics.median(times[kind]) / statistics.median(times["plain"]), pairs


def spread(values: list[float], unit: str, digits: int = 1) -> str:
    """Return the 10th and 90th percentile and the median as text."""
    points = torch.tensor(values, dtype=torch.float64).quantile(
        torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    )
    p10, p50, p90 = points.tolist()
    return f"p10 {p10:.{digits}f}, p50 {p50:.{digits}f}, p90 {p90:.{digits}f} {unit}"


if __name__ == "__main__":
    sys.exit(main())
