"""A distillation step against its floor, a student's step plus one teacher forward, in turns in one process.

    python benchmarks/distillation_overhead.py --batch 1 --seconds 5 --threads 1 --steps 10

Every kind has a student of its own with the same weights, and sees the same batch; the teacher is shared. The
floor does what any distillation must: the student's forward, backward and update, and the teacher's forward
without gradients, with no loss on hidden states. Memory is the peak of the tensors that a step makes (torch's
profiler on the CPU, its allocator's statistics on CUDA).
"""

import argparse
import copy
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from training_overhead import build, spread, time_in_turns

from prune_ssl import DistillationConfig
from prune_ssl.distillation import Distiller
from prune_ssl.measuring import describe_environment
from prune_ssl.measuring.benchmark import ARCHITECTURES

KINDS: dict[str, DistillationConfig | None] = {
    "floor": None,
    "hidden": DistillationConfig(losses={"l1": 1.0, "cosine": 1.0}),
    "star": DistillationConfig(losses={"layer_gram": 1e-3, "intra_gram": 1e-3}),
    "attention": DistillationConfig(losses={"attention": 1.0}),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", choices=ARCHITECTURES, default="hubert-base")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0, help="audio length of each clip")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each kind")
    parser.add_argument("--warmup", type=int, default=2, help="untimed steps of each kind before")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--out", type=Path, help="writes the result as JSON")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    inputs = {"input_values": torch.randn(args.batch, round(args.seconds * 16_000), device=args.device)}
    labels = torch.randint(12, (args.batch,), device=args.device)
    teacher = build(args.arch, args.device).eval().requires_grad_(False)
    steps = {name: make_step(teacher, inputs, labels, KINDS[name]) for name in args.kinds}
    times = time_in_turns(steps, args.steps, args.warmup, args.device)
    memory = {name: peak_bytes(step, args.device) for name, step in steps.items()}
    medians = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "arguments": {name: str(value) for name, value in vars(args).items() if name != "out"},
        "median_ms": medians,
        "times_ms": times,
        "peak_bytes": memory,
        "environment": describe_environment(teacher),
    }
    for name, values in times.items():
        pairs = [own / floor for own, floor in zip(values, times["floor"], strict=True)]
        print(
            f"{name}: median {medians[name]:.0f} ms, {medians[name] / medians['floor']:.3f} of the floor "
            f"(pair by pair {spread(pairs, '', 3)}); peak {memory[name] / 1e6:.0f} MB, "
            f"{memory[name] / memory['floor']:.3f} of the floor"
        )
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def make_step(
    teacher: nn.Module,
    inputs: dict[str, torch.Tensor],
    labels: torch.Tensor,
    config: DistillationConfig | None,
) -> Callable[[int], None]:
    """Return a function that makes one training step of a new student."""
    student = copy.deepcopy(teacher).requires_grad_(True).train()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1.01)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-5)
    distiller = None if config is None else Distiller(config, teacher, student)

    def step(_number: int) -> None:
        if distiller is None:
            loss = student(**inputs, labels=labels).loss
            with torch.no_grad():
                teacher(**inputs)
        else:
            with distiller.listening():
                outputs = student(**inputs, labels=labels)
            loss = outputs.loss + distiller.loss(inputs, outputs)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def peak_bytes(step: Callable[[int], None], device: str) -> int:
    """Return the most memory that tensors need in one step beyond what was there before it."""
    if device.startswith("cuda"):
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step(0)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(0)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = sorted(
        (event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]"
    )
    present = most = 0
    for _, change in changes:
        present += change
        most = max(most, present)
    return most


if __name__ == "__main__":
    sys.exit(main())
