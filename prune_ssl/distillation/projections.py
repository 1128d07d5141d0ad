"""Owns the learned maps from student states to the teacher's width, and the file that may keep them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from prune_ssl.errors import DistillationError
from prune_ssl.writing import write_bytes

PROJECTIONS_FILE = "projections.safetensors"
"""The file beside a model's weights. transformers does not read it."""


class Projections(nn.Module):
    """Maps student states to predictions of teacher states, one per layer pair.

    Args:
        kind: `none`, `shared`, `per_layer` or `heads`; `auto` is `shared` where widths differ, else `none`.
        pairs: (student layer, teacher layer) of every prediction.
        student_width: D of the student.
        teacher_width: D of the teacher.

    Raises:
        DistillationError: `none` with different widths.
    """

    def __init__(
        self, kind: str, pairs: Sequence[tuple[int, int]], student_width: int, teacher_width: int
    ) -> None:
        super().__init__()
        if kind == "auto":
            kind = "none" if student_width == teacher_width else "shared"
        if pairs and kind == "none" and student_width != teacher_width:
            raise DistillationError(
                f"projection 'none': the student's states have {student_width} channels, the teacher's "
                f"{teacher_width}. Choose 'shared', 'per_layer' or 'heads', or losses on relations only."
            )
        self.kind, self.pairs = kind, tuple(pairs)
        self.widths = student_width, teacher_width
        self.maps = nn.ModuleDict()
        for index in range(len(self.pairs)):
            key = self._key(index)
            if key is not None and key not in self.maps:
                size = teacher_width if kind == "heads" else student_width
                self.maps[key] = _linear(size, teacher_width, identity=kind != "heads")
        if kind == "heads":  # s3prl's DistilHuBERT: one wide layer, GELU, one output layer per target
            self.maps["trunk"] = _linear(student_width, teacher_width * len(self.pairs), identity=False)

    def _key(self, index: int) -> str | None:
        """Return the name of the map of pair `index`: "0" is state 0's own where the others share theirs."""
        if self.kind == "shared":
            return "rest" if self.pairs[index][0] else "first"
        return None if self.kind == "none" else str(index)

    def forward(self, states: Mapping[int, torch.Tensor]) -> list[torch.Tensor]:
        """Map student states {l: (B, T, D_S)} to predictions (B, T, D_T), one per pair."""
        if self.kind == "heads":
            last = states[max(layer for layer, _ in self.pairs)]
            wide = nn.functional.gelu(self.maps["trunk"](last)).chunk(len(self.pairs), -1)
            return [self.maps[str(index)](part) for index, part in enumerate(wide)]
        inputs = [states[layer] for layer, _ in self.pairs]
        if self.kind == "none":
            return inputs
        return [self.maps[self._key(index) or ""](state) for index, state in enumerate(inputs)]


def _linear(inputs: int, outputs: int, identity: bool) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    if identity:
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
    return layer


def save_projections(projections: Projections, folder: Path) -> None:
    """Write learned maps beside a model, with what they map.

    Raises:
        DistillationError: there is none.
        ArtifactError: the file cannot be written.
    """
    if not projections.maps:
        raise DistillationError(f"{folder}: nothing maps the student's states, so nothing can be kept.")
    facts = {"kind": projections.kind, "pairs": projections.pairs, "widths": projections.widths}
    tensors = {name: value.detach().cpu().contiguous() for name, value in projections.state_dict().items()}
    write_bytes(folder / PROJECTIONS_FILE, save(tensors, {"projections": json.dumps(facts)}))


def load_projections(folder: Path) -> Projections:
    """Read the maps that a run has kept beside its model.

    Raises:
        DistillationError: there are none, or the file is damaged.
    """
    path = folder / PROJECTIONS_FILE
    if not path.is_file():
        raise DistillationError(
            f"{path}: no such file: distil with `distillation.keep_projections: true`, which keeps what "
            "maps the student's states to the teacher's width."
        )
    try:
        with safe_open(path, "pt") as opened:
            facts = json.loads(opened.metadata()["projections"])
            pairs = [(own, other) for own, other in facts["pairs"]]
            made = Projections(facts["kind"], pairs, *facts["widths"])
            made.load_state_dict({name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DistillationError(f"{path}: not readable as kept projections ({error}).") from error
    return made.eval()
