"""Count the kernels of training steps: plain, gated, distilled. It needs no GPU.

    python benchmarks/launches.py                 # the steps, beside their floors
    python benchmarks/launches.py --parts         # and where the kernels come from that gates add

An operation of torch that is no view counts as one kernel. The number does not depend on the device or on
widths, so the model is a wav2vec2-base with narrow layers. The random numbers of gates are drawn on the CPU;
those six operations are counted all the same.
"""

import argparse
import copy
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

import prune_ssl
from prune_ssl.distillation import DistillationConfig, Distiller
from prune_ssl.gating.products import APART_ON
from prune_ssl.selection import KINDS, UNIT_KINDS

NARROW: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 96,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
VIEWS = frozenset(
    [
        "view",
        "t",
        "transpose",
        "permute",
        "expand",
        "unsqueeze",
        "squeeze",
        "squeeze_",
        "slice",
        "select",
        "as_strided",
        "detach",
        "alias",
        "unbind",
        "split",
        "split_with_sizes",
        "_unsafe_view",
        "_reshape_alias",
        "unfold",
        "diagonal",
        "lift_fresh",
        "empty",
        "empty_like",
        "new_empty",
        "empty_strided",
        "resize_",
        "new_empty_strided",
        "is_same_size",
        "_has_compatible_shallow_copy_type",
        "_fused_sdp_choice",
    ]
)
"""Operations that launch no kernel."""
LOSSES: dict[str, dict[str, float]] = {
    "L1 and cosine": {"l1": 1.0, "cosine": 1.0},
    "STaR": {"layer_gram": 1e-3, "intra_gram": 1e-3},
    "attention maps": {"attention": 1.0},
}


class Kernels(TorchDispatchMode):
    """Counts operations by the file of prune_ssl that asks for them: ("", operation) for the model's own."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[tuple[str, str]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.split("::")[-1]
        if name not in VIEWS:
            self.found[_place(), name] += 1
        return func(*args, **(kwargs or {}))


def _place() -> str:
    """Return the file of prune_ssl that asks for an operation; modules compute what the plain ones do."""
    frame = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if "/prune_ssl/" in path and not path.endswith("/modules.py"):
            return path.rpartition("/prune_ssl/")[2]
        if "/transformers/" in path or "/nn/modules/" in path:
            return ""
        frame = frame.f_back
    return ""


def count(step: Callable[[], None]) -> Counter[tuple[str, str]]:
    """Return the kernels of the second of two steps."""
    step()
    with Kernels() as kernels:
        step()
    return kernels.found


def classifier(**more: Any) -> Wav2Vec2ForSequenceClassification:
    """Return a model in training mode; all that makes steps unequal is off."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(num_labels=12, layerdrop=0.0, apply_spec_augment=False, **(NARROW | more))
    return Wav2Vec2ForSequenceClassification(config).train()


@contextmanager
def as_on_gpu() -> Iterator[None]:
    """Multiply gated weights together inside the block, as on a GPU."""
    APART_ON.discard("cpu")
    try:
        yield
    finally:
        APART_ON.add("cpu")


def gated_and_plain(kinds: Sequence[str], **more: Any) -> tuple[Counter[tuple[str, str]], ...]:
    """Return the kernels of a gated and of a plain step, forward and backward."""
    model = classifier(**more)
    graph = prune_ssl.trace(model)
    audio, labels = torch.randn(2, 8000), torch.tensor([0, 1])

    def step(gates: prune_ssl.Gates | None) -> None:
        loss = model(audio, labels=labels).loss
        (loss if gates is None else loss + gates.penalty(5)).backward()
        model.zero_grad()

    plain = count(lambda: step(None))
    config = prune_ssl.PruningConfig(budget="macs=50%", steps=100, kinds=tuple(kinds))
    gates = prune_ssl.attach_gates(model, graph, config)
    with as_on_gpu():
        return count(lambda: step(gates)), plain


def distilled_and_floor(losses: dict[str, float], **more: Any) -> tuple[int, int]:
    """Return the kernels of a distilled step, and of a student's step with a forward pass of the teacher."""
    student = classifier(**more)
    teacher = copy.deepcopy(student).eval()
    distiller = Distiller(DistillationConfig(losses=losses), teacher, student)
    mask = torch.ones(2, 8000, dtype=torch.long)
    mask[1, 6000:] = 0
    batch = {"input_values": torch.randn(2, 8000), "attention_mask": mask}
    labels = torch.tensor([0, 1])

    def floor() -> None:
        student(**batch, labels=labels).loss.backward()
        student.zero_grad()
        with torch.no_grad():
            teacher(**batch)

    def step() -> None:
        with distiller.listening():
            outputs = student(**batch, labels=labels)
        (outputs.loss + distiller.loss(batch, outputs)).backward()
        student.zero_grad()

    return count(step).total(), count(floor).total()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the kernels of each step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", action="store_true")
    chosen = parser.parse_args(arguments)
    for name, kinds in (("three kinds", UNIT_KINDS), ("all kinds", tuple(KINDS))):
        gated, plain = gated_and_plain(kinds)
        print(f"{name}: {gated.total()}, floor {plain.total()} ({gated.total() / plain.total():.3f})")
        if chosen.parts:
            gated.subtract(plain)
            parts: Counter[str] = Counter()
            for (place, _), number in gated.items():
                parts[place or "the model and autograd"] += number
            for place, number in parts.most_common():
                print(f"    {number:4} {place}")
    for name, losses in LOSSES.items():
        step, floor = distilled_and_floor(losses)
        print(f"{name}: {step}, floor {floor} ({step / floor:.3f})")


if __name__ == "__main__":
    main()
