"""SUPERB's scores against the published ones."""

import pytest

from prune_ssl.errors import DataError
from prune_ssl.probing import MEASURES, overall_score, superb_score
from tests.support.probing import ORDER, PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_scores_come_out(name: str) -> None:
    row, overall, score = PUBLISHED[name]
    results = dict(zip(ORDER, row, strict=True))
    assert abs(superb_score(results) - score) <= 1.0
    if overall is not None:
        assert abs(overall_score(results) - overall) <= 0.06  # printed with one decimal


def test_scores_are_zero_for_the_filterbank_and_a_thousand_for_the_best() -> None:
    assert superb_score({name: measure.baseline for name, measure in MEASURES.items()}) == 0
    assert superb_score({name: measure.best for name, measure in MEASURES.items()}) == pytest.approx(1000)


def test_an_incomplete_row_has_no_score() -> None:
    with pytest.raises(DataError, match="missing: asr, ic, pr; unknown: wer"):
        superb_score({"ks": 96.0, "wer": 3.0} | dict.fromkeys(ORDER[4:], 1.0))
