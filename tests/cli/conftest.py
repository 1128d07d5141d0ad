"""Fixtures of the tests of commands."""

from dataclasses import replace

import pytest

from prune_ssl.cli.options import Timed
from prune_ssl.profiling import Timing


@pytest.fixture
def few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `report` and `bench` time three calls of each model, instead of calls for three seconds."""
    asked = Timed.timing.fget
    assert asked is not None

    def few(options: Timed) -> Timing:
        return replace(asked(options), min_iterations=3, min_seconds=0.0)

    monkeypatch.setattr(Timed, "timing", property(few))
