"""Compare the peak memory of gated and plain training steps on fake tensors: nothing is computed.

    python benchmarks/peak_memory.py                        # wav2vec2-base, 4 clips of 5 s, both frontends
    python benchmarks/peak_memory.py --clips 8 --seconds 15 --half

The peak is that of torch's MemTracker: the bytes of parameters, gradients, optimiser states and of the
tensors that a step keeps or needs for a moment. A real allocator needs a little more, in blocks.
"""

import argparse
import json
from collections.abc import Sequence

import torch
from launches import as_on_gpu
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.distributed._tools.mem_tracker import MemTracker
from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

import prune_ssl
from prune_ssl.gating import Gates, attach
from prune_ssl.gating.wiring import _Plan
from prune_ssl.selection import KINDS, UNIT_KINDS

FRONTENDS: dict[str, dict[str, object]] = {
    "group norm": {},
    "layer norm": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
}
STEPS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "three kinds": tuple(UNIT_KINDS),
    "all kinds": tuple(KINDS),
}
MOST = {"three kinds": 1.05, "all kinds": 1.10}
"""The most that a gated step may need, of a plain one."""


class FakeGates(Gates):
    """Gates whose start is not measured: a fake tensor has no value."""

    def plan_steps(self, steps: int) -> None:
        """Plan the steps with all costs at the start."""
        self.lagrangian.steps, self.lagrangian.start = steps, [1.0 for _ in self.limits]


def peak(config: Wav2Vec2Config, kinds: Sequence[str], shape: tuple[int, float], half: bool = False) -> int:
    """Return the bytes at the peak of the second training step."""
    with torch.device("meta"):
        graph = prune_ssl.trace(Wav2Vec2ForSequenceClassification(config))
    clips, seconds = shape
    with FakeTensorMode(allow_non_fake_inputs=True), as_on_gpu():
        model = Wav2Vec2ForSequenceClassification(config).train()
        audio, labels = torch.randn(clips, int(16_000 * seconds)), torch.zeros(clips, dtype=torch.long)
        groups: list[dict[str, object]] = [{"params": list(model.parameters())}]
        gates = _attached(model, graph, kinds) if kinds else None
        groups += gates.parameter_groups() if gates else []
        optimizer = torch.optim.AdamW(groups, lr=1e-4)
        tracker = MemTracker()
        tracker.track_external(model, optimizer, audio, labels, *([gates] if gates else []))
        for step in range(2):
            if step:
                tracker.reset_mod_stats()
                tracker._peak_mem, tracker._peak_mem_snap = {}, {}
            with tracker:
                with torch.autocast("cpu", torch.bfloat16, enabled=half):
                    loss = model(audio, labels=labels).loss
                if gates:
                    loss = loss + gates.penalty(step)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        (found,) = tracker.get_tracker_snapshot("peak").values()
    return next(int(size) for kind, size in found.items() if str(kind).lower().endswith("total"))


def _attached(model: nn.Module, graph: prune_ssl.PruningGraph, kinds: Sequence[str]) -> Gates:
    config = prune_ssl.PruningConfig(budget="macs=50%", steps=100, kinds=tuple(kinds))
    gates = FakeGates(graph, config, config.bounds(graph))
    with unset_fake_temporarily():  # the places of gates are real numbers, which are sorted and counted
        wiring = attach(model, gates).wiring
        wiring._plan = _Plan.of(gates, wiring.gates, torch.device("cpu"))
    return gates


def compare(
    frontend: str, shape: tuple[int, float], half: bool = False, **sizes: object
) -> dict[str, dict[str, float]]:
    """Return the peak of each kind of step in MB, and its ratio to that of a plain step."""
    config = Wav2Vec2Config(
        num_labels=12, layerdrop=0.0, apply_spec_augment=False, **FRONTENDS[frontend], **sizes
    )
    peaks = {name: peak(config, kinds, shape, half) for name, kinds in STEPS.items()}
    return {
        name: {"MB": round(each / 1e6, 1), "ratio": round(each / peaks["plain"], 4)}
        for name, each in peaks.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the peaks of both frontends; return 1 if one is above its bound."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--half", action="store_true", help="autocast to bfloat16")
    chosen = parser.parse_args(arguments)
    good = True
    for frontend in FRONTENDS:
        found = compare(frontend, (chosen.clips, chosen.seconds), chosen.half)
        print(frontend, json.dumps(found), flush=True)
        good = good and all(found[name]["ratio"] <= most for name, most in MOST.items())
    return not good


if __name__ == "__main__":
    raise SystemExit(main())
