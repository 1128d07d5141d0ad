"""A few cases of every kind of fuzzing; benchmarks/fuzz.py runs them by the thousand."""

import pytest
from fuzzing.driver import KINDS, run_case

from tests.support.paths import ROOT
from tests.support.slow import slow_but

BENCHMARKS = ROOT / "benchmarks"

CASES = 25


WRITTEN = [kind for kind in KINDS if (BENCHMARKS / "fuzzing" / f"{kind}.py").is_file()]


@pytest.mark.parametrize("kind", slow_but(set(WRITTEN) - {"keeps", "configs"}, WRITTEN))
def test_what_people_give_is_taken_rightly_or_refused(kind: str) -> None:
    found = [run_case(kind, 1, index) for index in range(CASES)]
    assert not [each for each in found if each.is_fault]
    assert {"taken", "refused"} <= {each.outcome for each in found}  # the cases must reach both
