"""The environment that a measurement is made in."""

import torch

from prune_ssl.measuring import describe_environment
from tests.support.models import tiny_model


def test_the_environment_names_machine_versions_and_number_type() -> None:
    found = describe_environment(tiny_model())
    assert {"cpu", "cores", "os", "python", "torch", "transformers", "threads", "dtype", "device"} <= set(
        found
    )
    assert found["dtype"] == "float32"
    assert found["torch"] == torch.__version__
    assert all(isinstance(value, str) and value for value in found.values())
