"""A machine with one pretended GPU."""

from collections.abc import Iterator

import pytest

from tests.pretended.device import PretendedDevice
from tests.pretended.machine import pretended_machine


@pytest.fixture
def gpu() -> Iterator[PretendedDevice]:
    with pretended_machine() as device:
        yield device
