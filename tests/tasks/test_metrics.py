"""Task metrics against slow versions that follow the definitions word by word."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.errors import DataError
from prune_ssl.tasks.metrics import (
    CharacterErrorRate,
    EqualErrorRate,
    MinDetectionCost,
    PhonemeErrorRate,
    SlotF1,
    WordErrorRate,
    edit_counts,
)


def slow_edits(found: tuple[str, ...], wanted: tuple[str, ...]) -> int:
    """Levenshtein distance straight from its recursion."""

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        same = found[i - 1] == wanted[j - 1]
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (not same))

    return distance(len(found), len(wanted))


WORDS = st.lists(st.sampled_from(["a", "b", "cc", "d"]), min_size=1, max_size=7).map(" ".join)


MAYBE_EMPTY = st.one_of(st.just(""), WORDS)


@given(st.lists(st.tuples(MAYBE_EMPTY, WORDS), min_size=1, max_size=5))
def test_edit_rates_equal_the_recursion(pairs: list[tuple[str, str]]) -> None:
    predictions, references = [found for found, _ in pairs], [wanted for _, wanted in pairs]
    counts = edit_counts(predictions, references)
    edits = [slow_edits(tuple(f.split()), tuple(w.split())) for f, w in pairs]
    words = [len(wanted.split()) for wanted in references]
    assert counts.errors.tolist() == edits
    assert counts.lengths.tolist() == words
    assert counts.rate == sum(edits) / sum(words)
    letters = edit_counts(predictions, references, "character")
    assert letters.errors.tolist() == [slow_edits(tuple(f), tuple(w)) for f, w in pairs]
    assert letters.lengths.tolist() == [len(wanted) for wanted in references]


def test_the_metric_classes_pool_all_clips() -> None:
    predictions, references = ["a x c y", "d"], ["a b c", "d"]  # 1 substitution and 1 insertion in 4 words
    assert WordErrorRate().compute(predictions=predictions, references=references) == {"wer": 2 / 4}
    assert PhonemeErrorRate().compute(predictions=predictions, references=references) == {"per": 2 / 4}
    assert CharacterErrorRate().compute(predictions=predictions, references=references) == {"cer": 3 / 6}
    metric = WordErrorRate()
    for found, wanted in zip(predictions, references, strict=True):
        metric.add(prediction=found, reference=wanted)
    assert metric.compute() == {"wer": 2 / 4}


@pytest.mark.parametrize(
    ("predictions", "references", "words"),
    [([], [], "0 predictions for 0"), (["a"], ["a", "b"], "1 predictions for 2"), (["a"], [" "], "is empty")],
)
def test_texts_without_an_error_rate_are_refused(
    predictions: list[str], references: list[str], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        edit_counts(predictions, references)


def test_slot_f1_pools_pairs_and_knows_absent_slots() -> None:
    references = [["drink=latte", "milk=none", "size=big"], ["drink=mocha", "milk=oat"]]
    predictions = [["drink=latte", "milk=oat", "size=none"], ["drink=mocha", "milk=oat"]]
    # 3 right, 4 given (latte, oat, mocha, oat), 4 wanted.
    assert SlotF1().compute(predictions=predictions, references=references) == {"f1": 0.75}
    assert SlotF1().compute(predictions=[["milk=none"]], references=[["milk=none"]]) == {"f1": 1.0}


def test_metrics_open_no_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setenv("HOME", str(tmp_path / "no_home"))
    for metric in (WordErrorRate(), CharacterErrorRate(), PhonemeErrorRate()):
        assert list(metric.compute(predictions=["a"], references=["a"]).values()) == [0.0]
    for metric in (EqualErrorRate(), MinDetectionCost()):
        assert list(metric.compute(predictions=[0.9, 0.1], references=[1, 0]).values()) == [0.0]
    assert not (tmp_path / "no_home").exists()
