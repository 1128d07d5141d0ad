"""The survey of a corpus lists each kind of oddity."""

from pathlib import Path

import numpy as np
import pytest

from prune_ssl.data import SurveyConfig, survey
from prune_ssl.data.surveys import flat_share
from tests.support.layouts import odd_corpus


def test_the_survey_lists_each_kind_of_oddity(tmp_path: Path) -> None:
    odd_corpus(tmp_path)
    found = survey(tmp_path, SurveyConfig(max_seconds=1.2))
    assert found.counts == {"train": 8, "validation": 2}
    by_kind = {
        kind: [finding.path.name for finding in found.of_kind(kind)]
        for kind in ("broken", "silent", "clipped", "duplicated", "too short", "too long")
    }
    assert by_kind == {
        "broken": ["broken.wav", "gone.wav"],
        "silent": ["silent.wav"],
        "clipped": ["clipped.wav"],
        "duplicated": ["copy.flac"],
        "too short": ["short.wav"],
        "too long": ["long.wav"],
    }
    (copy,) = found.of_kind("duplicated")
    assert copy.words.endswith("train/no.wav")
    assert found.notes == ("1 of the 1 speakers of validation are in train too",)
    assert found.seconds["validation"] == pytest.approx(0.4)


def test_flat_tops_are_counted_one_by_one() -> None:
    wave = np.linspace(-0.5, 0.5, 100).astype(np.float32)
    assert flat_share(wave) == 0  # one sample at each extreme
    wave[40:45] = 0.6
    wave[70:72] = 0.6  # two are no run
    wave[10:13] = -0.7
    assert flat_share(wave) == pytest.approx(8 / 100)
    assert flat_share(wave / 100) == 0  # quiet audio is rounded, not clipped
