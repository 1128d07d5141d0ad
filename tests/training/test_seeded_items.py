"""Items that are random by (seed, phase, epoch, index) alone, and know how much of training is over."""

import pickle
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_ssl.training.seeded_items import PROGRESS, FollowEpoch, Placed, SeededItems
from prune_ssl.training.step_clips import CLIPS


class Dice:
    """Items that draw from every generator."""

    lengths = (4, 5, 6)

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict[str, float]:
        return {"torch": float(torch.rand(())), "numpy": np.random.rand(), "python": random.random()}


def drawn(seed: int, phase: str, epoch: int, index: int) -> dict[str, float]:
    items = SeededItems(Dice(), seed, phase)
    items.epoch.fill_(epoch)
    return items[index]


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    phase=st.sampled_from(["", "recovery"]),
    epoch=st.integers(0, 5),
    index=st.integers(0, 2),
)
def test_an_item_is_the_same_whatever_was_drawn_before(seed: int, phase: str, epoch: int, index: int) -> None:
    first = drawn(seed, phase, epoch, index)
    torch.rand(3), np.random.rand(), random.random()
    assert drawn(seed, phase, epoch, index) == first
    assert first[CLIPS] == index


def test_each_of_seed_phase_epoch_and_index_gives_another_item() -> None:
    places = [(1, "", 0, 0), (2, "", 0, 0), (1, "recovery", 0, 0), (1, "", 1, 0), (1, "", 0, 1)]
    for name in ("torch", "numpy", "python"):
        assert len({drawn(*place)[name] for place in places}) == len(places)


def test_the_generators_of_the_process_stand_where_they_stood() -> None:
    state = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    drawn(1, "", 0, 0)
    assert torch.equal(torch.random.get_rng_state(), state[0])
    assert np.random.get_state()[1].tolist() == state[1]
    assert random.getstate() == state[2]


def test_what_else_a_dataset_knows_is_known_of_its_items() -> None:
    items = SeededItems(Dice(), 0)
    assert items.lengths == (4, 5, 6)
    assert len(items) == 3
    with pytest.raises(AttributeError):
        _ = items.colours
    again = pickle.loads(pickle.dumps(items))
    assert again[1] == items[1]


def test_items_that_are_no_mappings_get_no_number() -> None:
    assert SeededItems([10, 20], 0)[1] == 20


class Easy:
    training_progress = 0.25

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> float:
        return self.training_progress


@pytest.mark.parametrize(
    ("epoch", "place", "over"), [(0, 0.0, 0.0), (0, 0.5, 0.125), (3, 0.0, 0.75), (4, 0.5, 1.0)]
)
def test_items_are_told_how_much_of_training_is_over(epoch: int, place: float, over: float) -> None:
    items = SeededItems(Easy(), 0)
    assert items[0] == 1.0  # training is over, or has not begun
    items.epochs = 4.0
    items.epoch.fill_(epoch)
    assert items[(2, place)] == over
    assert getattr(items.items, PROGRESS) == 0.25


def test_indices_come_with_the_part_of_the_epoch_that_is_over() -> None:
    class Sampler(list):
        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

    sampler = Sampler([3, 1, 0, 2])
    placed = Placed(sampler)
    assert list(placed) == [(3, 0.0), (1, 0.25), (0, 0.5), (2, 0.75)]
    assert len(placed) == 4
    placed.set_epoch(5)
    assert sampler.epoch == 5


@pytest.mark.parametrize(("accumulation", "epochs"), [(1, 2.0), (2, 10 / 3), (3, 5.0)])
def test_items_hear_of_epochs(accumulation: int, epochs: float) -> None:
    items, told = SeededItems(Easy(), 0), []
    sampler = SimpleNamespace(set_epoch=told.append)
    follow = FollowEpoch(items, sampler, starts_easy=True)
    args = SimpleNamespace(gradient_accumulation_steps=accumulation)
    state = SimpleNamespace(max_steps=10, epoch=2.9999999)
    follow.on_train_begin(args, state, None, train_dataloader=range(5))
    assert items.epochs == epochs
    follow.on_epoch_begin(args, state, None)
    assert int(items.epoch) == 3
    assert told == [3]
    follow.on_train_end(args, state, None)
    assert items.epochs is None


def test_ordinary_training_knows_no_number_of_epochs() -> None:
    items = SeededItems(Easy(), 0)
    follow = FollowEpoch(items, object(), starts_easy=False)
    follow.on_train_begin(None, None, None)
    assert items.epochs is None
    follow.on_epoch_begin(None, SimpleNamespace(epoch=None), None)
    assert int(items.epoch) == 0
