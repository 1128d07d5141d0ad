"""Random states made of what is read: equal for equal numbers, and the caller's own untouched."""

import contextlib
import random

import numpy as np
import torch

from prune_ssl.data.seeding import phase_key, random_by, seed_of


def draws() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.rand()), random.random()


def test_the_same_numbers_give_the_same_draws_and_others_do_not() -> None:
    found = []
    for entropy, phase in (([1, 2, 3], ""), ([1, 2, 3], ""), ([1, 2, 4], ""), ([1, 2, 3], "recovery")):
        with random_by(entropy, phase_key(phase)):
            found.append(draws())
    assert found[0] == found[1]
    assert len(set(found)) == 3
    assert all(len({row[library] for row in found}) == 3 for library in range(3))


def test_the_callers_states_go_on_as_if_nothing_had_been_drawn() -> None:
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    wanted = [draws(), draws()]
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    first = draws()
    with contextlib.suppress(KeyError), random_by([7], ()):
        draws()
        raise KeyError
    assert [first, draws()] == wanted


def test_seeds_of_near_numbers_lie_apart() -> None:
    seeds = [
        seed_of([epoch, index], phase_key(phase))
        for epoch in range(20)
        for index in range(20)
        for phase in ("", "a")
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert phase_key("") == ()
    assert phase_key("recovery") != phase_key("dense")
