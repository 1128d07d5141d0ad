"""Which clips a step heard: carried past any collator, and named by file where that is known."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.errors import TrainingError
from prune_ssl.training.step_clips import (
    CLIPS,
    LISTED,
    NamedBatches,
    StepClips,
    clip_names,
    require_finite_batch,
)

FILES = SimpleNamespace(clips=[SimpleNamespace(path=Path(f"{index}.wav")) for index in range(30)])


def collate(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    assert all(CLIPS not in item for item in items)
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def test_numbers_go_past_the_collator() -> None:
    items = [{"x": torch.tensor([1.0]), CLIPS: 7}, {"x": torch.tensor([2.0]), CLIPS: 3}]
    batch = NamedBatches(collate)(items)
    assert batch[CLIPS].tolist() == [7, 3]
    assert batch["x"].tolist() == [[1.0], [2.0]]
    assert items[0][CLIPS] == 7


def test_items_without_numbers_pass_as_they_are() -> None:
    assert CLIPS not in NamedBatches(collate)([{"x": torch.tensor([1.0])}])
    assert NamedBatches(tuple)([3, 4]) == (3, 4)
    mixed = NamedBatches(len)([{"x": 1, CLIPS: 0}, {"x": 2}])
    assert mixed == 2
    assert NamedBatches(len)([{"x": 1, CLIPS: 0}]) == 1  # no mapping: there is no place for them


@pytest.mark.parametrize("wrap", ["items", "clean", "dataset"])
def test_clips_are_named_by_their_files_through_any_wrapper(wrap: str) -> None:
    inner = SimpleNamespace(**{wrap: FILES})
    for dataset in (FILES, inner, SimpleNamespace(dataset=inner)):
        assert clip_names(dataset)(4) == "4.wav"


@pytest.mark.parametrize("dataset", [[1, 2], object(), SimpleNamespace(items=[1, 2]), {"a": 1}])
def test_items_of_another_dataset_have_a_number(dataset: object) -> None:
    assert "item 4" in clip_names(dataset)(4)


def odd_batch(*odd: int, rows: int = 4) -> dict[str, torch.Tensor]:
    values = torch.zeros(rows, 3)
    for row in odd:
        values[row, 1] = float("nan")
    return {"input_values": values, "labels": torch.zeros(rows), CLIPS: torch.arange(10, 10 + rows)}


def test_a_step_names_odd_clips_first_and_then_all() -> None:
    step = StepClips()
    assert not step
    for batch in (odd_batch(2), odd_batch()):
        step.add(batch[CLIPS], batch)
    assert step
    said = step.sentence(FILES)
    assert said.index("samples of 12.wav.") < said.index("10.wav, 11.wav, 12.wav, 13.wav.")
    step.clear()
    assert not step
    assert "10.wav" not in step.sentence(FILES)


def test_without_numbers_rows_are_named() -> None:
    step = StepClips()
    step.add(None, odd_batch(1, 3))
    assert "rows 1, 3" in step.sentence(FILES)
    step.clear()
    step.add(None)
    assert "does not say" in step.sentence(FILES)


@given(count=st.integers(1, 30))
def test_many_names_are_counted(count: int) -> None:
    step = StepClips()
    step.add(torch.arange(count))
    said = step.sentence(FILES)
    assert said.count(".wav") == min(count, LISTED)
    assert (f"and {count - LISTED} more" in said) == (count > LISTED)


def test_a_batch_that_is_not_finite_is_refused_by_its_clips() -> None:
    require_finite_batch(odd_batch(), FILES, "calibration")
    with pytest.raises(TrainingError, match=r"calibration: .*11\.wav, 13\.wav.*not finite"):
        require_finite_batch(odd_batch(1, 3), FILES, "calibration")
    batch = odd_batch(0)
    del batch[CLIPS]
    with pytest.raises(TrainingError, match="row 0"):
        require_finite_batch(batch, FILES, "calibration")


def test_labels_and_whole_numbers_are_not_searched() -> None:
    batch = {"labels": torch.tensor([float("nan")]), "ids": torch.ones(2, 2, dtype=torch.long)}
    require_finite_batch(batch, FILES, "calibration")
