"""How fast gates and targets move, as functions of the number of steps."""

import math
from collections.abc import Callable

# A gate must be able to travel from open to closed well inside the run: about this far in log-odds, in this
# part of the steps. With a fixed rate of 0.02 (DPHuBERT's, made for 50,000 steps) a run of 420 steps cannot
# close one.
TRAVEL = 8.0
TRAVEL_PART = 0.25
SLOWEST, FASTEST = 0.02, 0.3

# lambda_2 starts here and not at 0 (as in the papers): the quadratic term is then a proportional controller,
# and lambda_1 only its slow integral. From 0, with a rate like the gates', the expected cost swings around
# the target by 0.2 to 0.35 of the dense cost in runs of 60 to 500 steps; from here it stays within 0.03.
INITIAL_LAMBDA_2 = 50.0
MULTIPLIER_RATE = 0.1  # of the gates' learning rate

SHORT_RUN, LONG_RUN = 500, 5_000
SHORT_KEEP, LONG_KEEP = 0.95, 0.99
SHORT_WARMUP, LONG_WARMUP = 0.9, 0.6


def gate_learning_rate(steps: int) -> float:
    """Return the gates' Adam step size for a run of `steps`: log_alpha moves by about this much a step."""
    return min(max(TRAVEL / (TRAVEL_PART * steps), SLOWEST), FASTEST)


def initial_keep(steps: int) -> float:
    """Return the keep probability to start from: nearer to 1 the longer the run.

    A gate at 0.998 (DPHuBERT's heads and channels) is almost never sampled below 1, so the task says nothing
    about it until the penalty has moved it; short runs cannot wait for that.
    """
    return SHORT_KEEP + (LONG_KEEP - SHORT_KEEP) * _length(steps)


def warmup(steps: int) -> float:
    """Return the part of a run of `steps` over which its target falls: the shorter the run, the more of it.

    While few units are open and their gates still noisy, weights learn little; in a short run that time is
    worth more before the cut (wide) or after it (without noise). The target stands still long enough for the
    gates to come near it; the final projection takes the rest.
    """
    return SHORT_WARMUP + (LONG_WARMUP - SHORT_WARMUP) * _length(steps)


def _length(steps: int) -> float:
    """Place a number of steps between short (0) and long runs (1), by its logarithm."""
    position = math.log(steps / SHORT_RUN) / math.log(LONG_RUN / SHORT_RUN)
    return min(max(position, 0.0), 1.0)


STEEPNESS = 5.0  # of the sigmoid ramp: from sigmoid(5) to sigmoid(-5), stretched to end at 1 and 0


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
    """Return the target at `step`: from `start` to `goal` over the warm-up (a part of `steps`), then that."""
    time = min(step / max(warmup * steps, 1.0), 1.0)
    return goal + (start - goal) * SHAPES[shape](time)
