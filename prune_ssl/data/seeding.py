"""Random states that depend only on (seed, phase, epoch, index)."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def phase_key(phase: str) -> tuple[int, ...]:
    """Return the spawn key that gives each phase its own random streams."""
    return (zlib.crc32(phase.encode()),) if phase else ()


def seed_of(entropy: list[int], key: tuple[int, ...]) -> int:
    """Return one seed made from several numbers."""
    return int(np.random.SeedSequence(entropy, spawn_key=key).generate_state(1)[0])


@contextmanager
def random_by(entropy: list[int], key: tuple[int, ...]) -> Iterator[None]:
    """Seed torch, numpy and random from these numbers for a `with` block, then restore their states."""
    seed, plain, numbers = seed_of(entropy, key), random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also queue a call with a stack trace for each unused device. That costs
        # 6 ms a clip, and the memory grows with every clip.
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(numbers)
