"""How each task of SUPERB is probed."""

import dataclasses
from itertools import pairwise

import pytest

from prune_ssl.probing import MEASURES
from prune_ssl.probing.settings import GRID, PROBES, ProbeSettings
from prune_ssl.tasks import TASKS


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_is_of_a_task_and_a_measure_that_there_are(name: str) -> None:
    settings = PROBES[name]
    assert name in MEASURES
    assert settings.task in TASKS
    assert settings.steps > 0
    assert settings.words
    assert settings.error == (MEASURES[name].best < MEASURES[name].baseline)


def test_learning_rates_are_searched_over_decades() -> None:
    assert list(GRID) == sorted(GRID, reverse=True)
    assert [before / after for before, after in pairwise(GRID)] == pytest.approx([10] * 3)
    assert all(settings.rates == GRID for settings in PROBES.values())


def test_intents_have_a_head_for_each_slot() -> None:
    assert PROBES["ic"].target.split("|") == ["action", "object", "location"]
    assert PROBES["sid"].target == "speaker"


def test_settings_are_frozen_and_given_by_name() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PROBES["ks"].steps = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        ProbeSettings("words", "classification", "accuracy")  # type: ignore[misc,call-arg]
