"""The speed of gates, targets and weights as functions of the number of steps and of the budget."""

import math
from collections.abc import Callable

# A gate must be able to travel from open to closed well inside the run: TRAVEL in log-odds, in TRAVEL_PART of
# the steps. At the fixed rate of 0.02 of DPHuBERT, which is for 50,000 steps, a run of 420 steps cannot close
# a gate.
TRAVEL = 8.0
TRAVEL_PART = 0.25
SLOWEST, FASTEST = 0.02, 0.3

# lambda_2 starts at this value; in the papers it starts at 0. So the quadratic term is a proportional
# controller, and lambda_1 is its slow integral. From 0, at the rate of the gates, the expected cost swings
# around the target by 0.2 to 0.35 of the dense cost in runs of 60 to 500 steps. With these two values it
# stays within 0.03 also at 12% of the MACs, where few gates are left and the task holds each of them; with 50
# and 0.1 it trails its target by up to 0.06 there.
INITIAL_LAMBDA_2 = 100.0
MULTIPLIER_RATE = 0.25
"""The learning rate of the multipliers as a part of that of the gates."""

SHORT_RUN, LONG_RUN = 500, 5_000
SHORT_KEEP, LONG_KEEP = 0.95, 0.99
SHORT_WARMUP, LONG_WARMUP = 0.9, 0.6


def gate_learning_rate(steps: int) -> float:
    """Return the learning rate of the gates for a run of `steps`: Adam moves log_alpha so far at a step."""
    return min(max(TRAVEL / (TRAVEL_PART * steps), SLOWEST), FASTEST)


def initial_keep(steps: int) -> float:
    """Return the keep probability at the start; it is nearer to 1 for a longer run.

    A gate at 0.998, as heads and channels of DPHuBERT, is almost never sampled below 1. So the task says
    nothing about it until the penalty has moved it, and short runs cannot wait for that.
    """
    return SHORT_KEEP + (LONG_KEEP - SHORT_KEEP) * _length(steps)


def warmup(steps: int) -> float:
    """Return the part of a run of `steps` over which its target falls; it is larger for a shorter run.

    While few units are open and their gates are noisy, weights learn little. In a short run they learn more
    before, in the wide model, or after the cut, without noise. The target stands still long enough for the
    gates to come near it. The final projection does the rest.
    """
    return SHORT_WARMUP + (LONG_WARMUP - SHORT_WARMUP) * _length(steps)


RATE_GROWTH = 0.25
"""The power of 1 / kept by which the learning rate of the weights grows after a cut."""


def learning_rate_factor(kept: float) -> float:
    """Return the factor on the learning rate of the weights of a model that was cut to a part of its cost.

    Adam's rate should go as 1 / width (Yang et al., Tensor Programs V, NeurIPS 2021), and the cost goes about
    as the square of the widths, which would give 1 / sqrt(kept). Half of that growth, in the exponent, did
    best here (docs/learned_gates.md). At the dense model's rate, a model of 12% of the MACs learns too slowly
    for the few steps of a recovery.

    Args:
        kept: the part of the dense cost, above 0.

    >>> learning_rate_factor(1 / 16)
    2.0
    """
    return float(kept**-RATE_GROWTH)


ORDER_SPREAD = 3.0
"""How far log_alpha of the first and of the last unit of a group start from the middle of the group."""


def _length(steps: int) -> float:
    """Place a number of steps between short (0) and long runs (1), by its logarithm."""
    position = math.log(steps / SHORT_RUN) / math.log(LONG_RUN / SHORT_RUN)
    return min(max(position, 0.0), 1.0)


STEEPNESS = 5.0
"""The sigmoid ramp goes from sigmoid(5) to sigmoid(-5), stretched so that it ends at 1 and 0."""


def _linear(time: float) -> float:
    return 1 - time


def _cubic(time: float) -> float:
    return (1 - time) ** 3


def _sigmoid(time: float) -> float:
    high, low = 1 / (1 + math.exp(-STEEPNESS)), 1 / (1 + math.exp(STEEPNESS))
    return (1 / (1 + math.exp(STEEPNESS * (2 * time - 1))) - low) / (high - low)


SHAPES: dict[str, Callable[[float], float]] = {"linear": _linear, "cubic": _cubic, "sigmoid": _sigmoid}
"""Name -> the part of the way that is left at a time from 0 to 1. Cubic is Zhu & Gupta 2017, eq. 1."""


def ramp(step: int, steps: int, warmup: float, start: float, goal: float, shape: str = "linear") -> float:
    """Return the target at `step`: it goes from `start` to `goal` over the warm-up, a part of `steps`.

    >>> [ramp(step, 10, 0.5, 1.0, 0.5) for step in (0, 4, 5, 10)]
    [1.0, 0.6, 0.5, 0.5]
    """
    time = min(step / max(warmup * steps, 1.0), 1.0)
    return goal + (start - goal) * SHAPES[shape](time)
