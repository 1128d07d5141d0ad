"""How fast gates and targets move, as functions of the number of steps."""

import math

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


def gate_learning_rate(steps: int) -> float:
    """Return the gates' Adam step size for a run of `steps`: log_alpha moves by about this much a step."""
    return min(max(TRAVEL / (TRAVEL_PART * steps), SLOWEST), FASTEST)


def initial_keep(steps: int) -> float:
    """Return the keep probability to start from: nearer to 1 the longer the run.

    A gate at 0.998 (DPHuBERT's heads and channels) is almost never sampled below 1, so the task says nothing
    about it until the penalty has moved it; short runs cannot wait for that.
    """
    position = math.log(steps / SHORT_RUN) / math.log(LONG_RUN / SHORT_RUN)
    return SHORT_KEEP + (LONG_KEEP - SHORT_KEEP) * min(max(position, 0.0), 1.0)


def ramp(step: int, steps: int, warmup: float, start: float, goal: float) -> float:
    """Return the target at `step`: linear from `start` to `goal` over the warm-up, then `goal`."""
    length = max(warmup * steps, 1.0)
    return goal + (start - goal) * max(1.0 - step / length, 0.0)
