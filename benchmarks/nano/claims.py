"""The papers' claims as questions about two rows, and their answers from paired differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, variance

from nano.cells import CLEAN, FROZEN, PRUNED, SCRATCH, TASKS, TEACHER, TUNED
from nano.rows import Row, Rows, at
from prune_ssl.tasks import paired_difference

YES, NO, OPEN = "yes", "no", "not told"
Z = 1.96
DISTILLED = ("distilhubert", "layer_matching", "star", "arm", "mask", "dphubert")


@dataclass(frozen=True)
class Side:
    """A method, and how its model was trained on the task."""

    method: str
    mode: str = TUNED


@dataclass(frozen=True)
class Claim:
    """A question: is one row better than another, or at most so many points worse?"""

    question: str
    ours: Side
    theirs: tuple[Side, ...]
    """Of several, the one with the best mean on the task counts."""
    tasks: tuple[str, ...] = tuple(TASKS)
    clips: tuple[str, ...] = (CLEAN,)
    points: float = 0.0
    """How many points worse is still a yes."""


@dataclass(frozen=True)
class Gain:
    """By how much one method is better than another, 0 to 1, with its 95% interval over clips and seeds."""

    value: float
    low: float
    high: float
    seeds: tuple[int, ...]

    def answer(self, points: float = 0.0) -> str:
        """Return whether the gain is above a bound, given in points below 0."""
        bound = -points / 100
        return YES if self.low > bound else NO if self.high < bound else OPEN


CLAIMS = (
    Claim(
        "Is the pretrained model better than one from scratch?",
        Side(TEACHER),
        (Side(SCRATCH),),
    ),
    Claim("Does STaR beat layer matching at equal size?", Side("star"), (Side("layer_matching"),)),
    Claim("Does masking distillation beat layer matching?", Side("mask"), (Side("layer_matching"),)),
    Claim("Does reuse of maps cost at most 1 point?", Side("arm"), (Side("mask"),), points=1.0),
    Claim(
        "Is the robust student within 2 points of its teacher under noise?",
        Side("robust"),
        (Side(TEACHER),),
        ("ks", "sv", "asr"),
        ("10 dB", "0 dB"),
        2.0,
    ),
    Claim(
        "Is the robust student better under noise than DistilHuBERT?",
        Side("robust"),
        (Side("distilhubert"),),
        ("ks", "sv", "asr"),
        ("10 dB", "0 dB"),
    ),
    Claim("Does fine-tuning beat freezing?", Side(TEACHER), (Side(TEACHER, FROZEN),)),
    Claim(
        "Does pruning for the task beat the best student that was distilled first?",
        Side(PRUNED),
        tuple(Side(name) for name in DISTILLED),
    ),
)


def gain(ours: dict[int, Row], theirs: dict[int, Row], error: bool, clips: str = CLEAN) -> Gain | None:
    """Return how much better the rows `ours` are, or None where no seed has both on these clips.

    The standard error adds the variance over speakers or clips (for these seeds) and that over seeds.
    """
    both = sorted(ours.keys() & theirs.keys())
    seeds = [each for each in both if clips in ours[each].outcomes and clips in theirs[each].outcomes]
    if not seeds:
        return None
    mine, other = ([rows[seed].on(clips) for seed in seeds] for rows in (ours, theirs))
    found = paired_difference(other, mine)
    sign = -1 if error else 1
    each = [one.value - two.value for one, two in zip(mine, other, strict=True)]
    spread = variance(each) / len(each) if len(each) > 1 else 0.0
    half = Z * sqrt(found.standard_error**2 + spread)
    low, high = (found.difference - half, found.difference + half)
    # The bootstrap's own interval is wider where few speakers were drawn.
    ends = sorted((sign * min(low, found.low), sign * max(high, found.high)))
    return Gain(sign * found.difference, ends[0], ends[1], tuple(seeds))


def gain_of(rows: Rows, claim: Claim, task: str, clips: str) -> tuple[str, Gain] | None:
    """Return the method that a claim compares with on a task, and the gain; None where rows are missing."""
    error = TASKS[task].error
    ours = at(rows, task, claim.ours.method, claim.ours.mode)
    candidates = {side: at(rows, task, side.method, side.mode) for side in claim.theirs}
    known = {side: found for side, found in candidates.items() if _judged(found, clips)}
    if not known:
        return None
    best = min(known, key=lambda side: (1 if error else -1) * _mean(known[side], clips))
    found = gain(ours, known[best], error, clips)
    return None if found is None else (best.method, found)


def _judged(rows: dict[int, Row], clips: str) -> bool:
    return any(clips in row.outcomes for row in rows.values())


def _mean(rows: dict[int, Row], clips: str) -> float:
    return mean(row.value(clips) for row in rows.values() if clips in row.outcomes)


def overall(answers: Sequence[str]) -> str:
    """Return the answer over tasks: that of those which tell, if they agree."""
    told = {each for each in answers if each != OPEN}
    return told.pop() if len(told) == 1 else OPEN if not told else "depends on the task"
