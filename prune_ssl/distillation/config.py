"""DistillationConfig: what a student learns from its teacher, and how much."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from prune_ssl.distillation.enhancement import ENHANCEMENT_LOSSES
from prune_ssl.distillation.loss import Loss, Models
from prune_ssl.distillation.relations import POWERS, GramScale
from prune_ssl.errors import DistillationError
from prune_ssl.fields_in_help import with_fields
from prune_ssl.models.arguments import check_types

MASKING, ENHANCEMENT = "masking", "enhancement"
PROJECTIONS = ("auto", "none", "shared", "per_layer", "heads")

Layer = int | tuple[int, int]


@with_fields
@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Settings of distillation; checked when made.

    The loss of a step is `task_weight * task loss + sum of weight * loss` over `losses`. Hidden state 0 is
    the output of the feature projection, l that of encoder layer l (before a final norm of the encoder).
    """

    losses: Mapping[str, float] = field(default_factory=lambda: {"l1": 1.0, "cosine": 1.0})
    """Weight of each loss: hidden states `l1`, `cosine`, `log_cosine`, `mse`; relations `attention`,
    `layer_gram`, `intra_gram` (STaR); predictions `logits` (of clips or of frames, as CTC's), `embedding`;
    `masking` (ARM): hidden states again, for input that is masked, at the price of a second teacher pass;
    `enhancement` (RobustDistiller): the clean audio, from the corrupted one that the student hears."""
    task_weight: float = 1.0
    """Weight of the model's own loss; 0: the labels are not used."""
    layers: Sequence[Layer] | None = None
    """Hidden states to match, as l or (student's, teacher's); None: 0 and the thirds of the depth."""
    layer_weights: Sequence[float] | None = None
    """Weight of each of `layers`; None: their mean."""
    relation_layers: Sequence[Layer] | None = None
    """The same for relations; None: every layer of the student, spread over the teacher's."""
    projection: Literal["auto", "none", "shared", "per_layer", "heads"] = "auto"
    """Learned maps of student states: `shared` one for state 0 and one for all others (DPHuBERT), `per_layer`
    (ARM), both starting as the identity; `heads` predicts every target from the last state (DistilHuBERT);
    `auto` is `shared` where widths differ and `none` elsewhere."""
    temperature: float = 2.0
    """Of the logits' softmax."""
    logit_groups: Sequence[int] | None = None
    """Sizes of the parts of a clip's logits that have a softmax each, in order (slots; recipes of tasks with
    several targets set it themselves); None: one softmax."""
    gram_scale: GramScale = "sqrt"
    """Power of D by which Gram matrices are divided: `raw` (STaR's formula), `sqrt`, `mean`."""
    mask_probability: float = 0.8
    """Share of frames that `masking` hides (ARM: 0.8 for 960 h, 0.4 for 100 h)."""
    mask_length: int = 10
    """Frames of one masked span."""
    enhancement: Literal["magnitude", "multi_resolution", "si_sdr"] = "magnitude"
    """What the enhancement head is judged by: L1 of magnitudes, STFT at three resolutions, or SI-SDR."""
    enhancement_input: Literal["last", "frontend"] = "last"
    """What it reads: the last hidden state (the paper's figure), or the convolutions' output (its code)."""
    enhancement_units: int = 256
    """LSTM units of the head in each direction; RobustDistiller's 256 beside 768 hidden dimensions."""
    learning_rate: float | None = None
    """Of the projections; None: that of the weights."""
    teacher_dtype: Literal["auto", "float32"] = "auto"
    """The precision of the teacher's forward pass. `auto`: that of the student, so bfloat16 under `bf16`."""
    teacher_cache: str | Path | None = None
    """Where the teacher's answers are kept, so that it hears each clip once: a folder, or `memory` (of each
    process); None: nowhere. For clips that it hears unchanged each time: without augmentation and crops."""
    teacher_cache_gb: float = 10.0
    """At most so many 10^9 bytes are kept, in the folder with all that was there before."""

    def __post_init__(self) -> None:
        check_types(self, DistillationError)
        object.__setattr__(self, "losses", dict(self.losses))
        for name in ("layers", "relation_layers"):
            object.__setattr__(self, name, _pairs(name, getattr(self, name)))
        if not self.losses:
            raise DistillationError("losses: none given; wanted some of " + ", ".join(LOSSES) + ".")
        for name, weight in self.losses.items():
            if name not in LOSSES:
                near = get_close_matches(name, LOSSES, n=1, cutoff=0.4)
                hint = f"did you mean {near[0]!r}?" if near else f"wanted some of {', '.join(LOSSES)}."
                raise DistillationError(f"losses: there is no loss {name!r}; {hint}")
            if weight <= 0:
                raise DistillationError(f"losses.{name}: found weight {weight}, wanted a number above 0.")
        if self.layer_weights is not None:
            object.__setattr__(self, "layer_weights", tuple(map(float, self.layer_weights)))
        for name, holds, wanted in (
            ("task_weight", self.task_weight >= 0, "0 or more"),
            (
                "logit_groups",
                self.logit_groups is None or (self.logit_groups and min(self.logit_groups) >= 1),
                "numbers of logits of 1 or more",
            ),
            ("temperature", self.temperature > 0, "above 0"),
            ("projection", self.projection in PROJECTIONS, f"one of {', '.join(PROJECTIONS)}"),
            ("teacher_dtype", self.teacher_dtype in ("auto", "float32"), "auto or float32"),
            ("gram_scale", self.gram_scale in POWERS, f"one of {', '.join(POWERS)}"),
            ("mask_probability", 0 < self.mask_probability <= 1, "above 0 and at most 1"),
            (
                "enhancement",
                self.enhancement in ENHANCEMENT_LOSSES,
                f"one of {', '.join(ENHANCEMENT_LOSSES)}",
            ),
            ("enhancement_input", self.enhancement_input in ("last", "frontend"), "last or frontend"),
            ("enhancement_units", self.enhancement_units >= 1, "1 or more"),
            ("mask_length", self.mask_length >= 1, "1 or more"),
            ("teacher_cache", self.teacher_cache != "", "a folder, or 'memory'"),
            ("teacher_cache_gb", self.teacher_cache_gb > 0, "above 0"),
            ("learning_rate", self.learning_rate is None or self.learning_rate > 0, "above 0"),
            (
                "layer_weights",
                self.layer_weights is None or len(self.layer_weights) == len(self.layers or ()),
                "one for each of `layers`",
            ),
        ):
            if not holds:
                raise DistillationError(f"{name}: found {getattr(self, name)!r}, wanted {wanted}.")


LossFactory = Callable[[DistillationConfig, Models], Loss]
"""Makes a loss for a student and its teacher."""
LOSSES: dict[str, LossFactory] = {}
"""Every loss by the name that a config gives it; `losses.py` fills it, `register_loss` adds to it."""


def _pairs(name: str, layers: Sequence[Layer] | None) -> tuple[tuple[int, int], ...] | None:
    if layers is None:
        return None
    given = [(each, each) if isinstance(each, int) else tuple(each) for each in layers]
    pairs = tuple((pair[0], pair[1]) for pair in given if len(pair) == 2 and min(pair) >= 0)
    if not pairs or len(pairs) < len(given):
        raise DistillationError(
            f"{name}: found {list(layers)}, wanted layer numbers from 0, or pairs (student's, teacher's)."
        )
    return pairs
