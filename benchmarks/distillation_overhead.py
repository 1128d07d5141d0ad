"""Compare a distillation step with its floor: a student's step plus one teacher forward, timed in turns.

    python benchmarks/distillation_overhead.py --batch 1 --seconds 5 --threads 1 --steps 10

All kinds of steps train the same student on the same batch, each with its own taps during its turn. (Two
equal students may differ in time, depending on where their tensors lie.) The floor does what every
distillation must do: the student's forward, backward and update, and the teacher's forward without
gradients, without a loss on hidden states. `floor_again` repeats the floor, and its difference is noise.
`cached` is `hidden` with the teacher's outputs in memory, so it has no teacher forward. Memory is the peak of
the tensors that a step makes (torch's profiler on the CPU, its allocator's statistics on CUDA).
"""

import argparse
import copy
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from timing import timed
from torch import nn
from torch.profiler import ProfilerActivity, profile
from training_overhead import build, spread

from prune_ssl import DistillationConfig
from prune_ssl.distillation import Distiller
from prune_ssl.measuring import describe_environment
from prune_ssl.measuring.benchmark import ARCHITECTURES

KINDS: dict[str, DistillationConfig | None] = {
    "floor": None,
    "floor_again": None,
    "hidden": DistillationConfig(losses={"l1": 1.0, "cosine": 1.0}),
    "star": DistillationConfig(losses={"layer_gram": 1e-3, "intra_gram": 1e-3}),
    "attention": DistillationConfig(losses={"attention": 1.0}),
    "cached": DistillationConfig(losses={"l1": 1.0, "cosine": 1.0}, teacher_cache="memory"),
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
    stepper = Stepper(teacher, inputs, labels, args.kinds)
    times, busy = time_in_turns(stepper, args.kinds, args.steps, args.warmup, args.device)
    memory = {name: peak_bytes(stepper, name, args.device) for name in args.kinds}
    medians = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "arguments": {name: str(value) for name, value in vars(args).items() if name != "out"},
        "median_ms": medians,
        "times_ms": times,
        "cpu_ms": busy,
        "peak_bytes": memory,
        "environment": describe_environment(teacher),
    }
    for name, values in times.items():
        pairs = [own / floor for own, floor in zip(values, times["floor"], strict=True)]
        cpu = statistics.median(busy[name]) / statistics.median(busy["floor"])
        print(
            f"{name}: median {medians[name]:.0f} ms, {medians[name] / medians['floor']:.3f} of the floor "
            f"(pair by pair {spread(pairs, '', 3)}; CPU time {cpu:.3f}); peak {memory[name] / 1e6:.0f} MB, "
            f"{memory[name] / memory['floor']:.3f} of the floor"
        )
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


class Stepper:
    """One student that makes training steps of every kind."""

    def __init__(
        self,
        teacher: nn.Module,
        inputs: dict[str, torch.Tensor],
        labels: torch.Tensor,
        kinds: Iterable[str],
    ) -> None:
        self.teacher, self.inputs, self.labels = teacher, inputs, labels
        self.student = copy.deepcopy(teacher).requires_grad_(True).train()
        with torch.no_grad():
            for parameter in self.student.parameters():
                parameter.mul_(1.01)
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=1e-5)
        self.distillers: dict[str, Distiller] = {}
        for name in kinds:
            config = KINDS[name]
            if config is not None:
                # A copy of the teacher each, or its hooks would count for the others. Weights are shared.
                shared = {id(value): value for value in (*teacher.parameters(), *teacher.buffers())}
                self.distillers[name] = Distiller(config, copy.deepcopy(teacher, shared), self.student)
                self.distillers[name].detach()

    @contextmanager
    def turn(self, name: str) -> Iterator[Callable[[], None]]:
        """Put the taps of a kind on the student; give what makes one step."""
        distiller = self.distillers.get(name)
        if distiller is not None:
            distiller.attach(self.student)
        yield lambda: self._step(distiller)
        if distiller is not None:
            distiller.detach()

    def _step(self, distiller: Distiller | None) -> None:
        if distiller is None:
            loss = self.student(**self.inputs, labels=self.labels).loss
            with torch.no_grad():
                self.teacher(**self.inputs)
        else:
            with distiller.listening():
                outputs = self.student(**self.inputs, labels=self.labels)
            loss = outputs.loss + distiller.loss(self.inputs, outputs)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def time_in_turns(
    stepper: Stepper, kinds: Sequence[str], count: int, warmup: int, device: str
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return wall-clock and CPU milliseconds of each step: A B C, B C A, ... so that drift hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in kinds}
    busy: dict[str, list[float]] = {name: [] for name in kinds}
    order = list(kinds)
    for turn in range(warmup + count):
        for name in order:
            with stepper.turn(name) as step, timed(device, times[name], busy[name], turn >= warmup):
                step()
        order.append(order.pop(0))
    return times, busy


def peak_bytes(stepper: Stepper, kind: str, device: str) -> int:
    """Return the most memory that tensors need in one step beyond what was there before it."""
    with stepper.turn(kind) as step:
        if device.startswith("cuda"):
            before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            step()
            return torch.cuda.max_memory_allocated(device) - before
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            step()
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
