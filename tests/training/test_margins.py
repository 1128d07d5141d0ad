"""The margin of a speaker loss: none at first, then rising, then whole, and whole after training."""

from types import SimpleNamespace

import pytest

from prune_ssl.training.margins import MarginRamp


@pytest.mark.parametrize(
    ("step", "margin"), [(0, 0.0), (40, 0.0), (50, 0.05), (60, 0.1), (70, 0.15), (80, 0.2), (99, 0.2)]
)
def test_the_margin_rises_between_two_and_four_fifths_of_the_steps(step: int, margin: float) -> None:
    objective = SimpleNamespace(margin=0.2)
    ramp = MarginRamp(objective)
    ramp.on_step_begin(None, SimpleNamespace(global_step=step, max_steps=100), None)
    assert objective.margin == pytest.approx(margin)
    ramp.on_train_end(None, None, None)
    assert objective.margin == 0.2


def test_a_run_without_steps_has_no_margin_and_divides_by_nothing() -> None:
    objective = SimpleNamespace(margin=0.2)
    MarginRamp(objective).on_step_begin(None, SimpleNamespace(global_step=0, max_steps=0), None)
    assert objective.margin == 0.0
