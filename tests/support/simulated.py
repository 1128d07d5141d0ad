"""Latencies of two models on a simulated machine."""

import random

from prune_ssl.profiling.timing import Timed, _summarise


class Modes:
    """A machine that is now and then slower, by a factor, for a while."""

    def __init__(self, rng, factor, share, calls):
        self.rng, self.factor, self.share, self.leave = rng, factor, share, 1 / calls
        self.slow = rng.random() < share

    def __call__(self):
        if self.rng.random() < self.leave:
            self.slow = self.rng.random() < self.share
        return self.factor if self.slow else 1.0


def simulated(seed, truth, factor, share, calls, n=60, noise=0.03, shared=True):
    """Return the latencies of two models timed in turns; the first takes `truth` times as long."""
    rng = random.Random(seed)
    modes = [Modes(rng, factor, share, calls) for _ in range(2)]
    times = {truth: [], 1.0: []}
    for _ in range(n):
        for index, (base, found) in enumerate(times.items()):
            processor = 0.002 * base * abs(rng.gauss(1, noise))
            found.append(Timed(processor * modes[0 if shared else index](), processor))
    return [_summarise(found, 1.0, 1) for found in times.values()]
