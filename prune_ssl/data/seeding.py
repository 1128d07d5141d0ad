"""Owns random states that depend on what is read alone: (seed, phase, epoch, index)."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def phase_key(phase: str) -> tuple[int, ...]:
    """Return what sets the random streams of a phase apart."""
    return (zlib.crc32(phase.encode()),) if phase else ()


def seed_of(entropy: list[int], key: tuple[int, ...]) -> int:
    """Return one seed from several numbers."""
    return int(np.random.SeedSequence(entropy, spawn_key=key).generate_state(1)[0])


@contextmanager
def random_by(entropy: list[int], key: tuple[int, ...]) -> Iterator[None]:
    """Let torch, numpy and random draw from states made of these numbers, and put theirs back."""
    seed, plain, numbers = seed_of(entropy, key), random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed also queues calls for devices that were never used, with a stack trace each:
        # 6 ms a clip, and memory that grows with every clip.
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(numbers)
