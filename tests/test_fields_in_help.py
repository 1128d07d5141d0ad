"""help() shows the fields of the settings, with the text that stands below each."""

import dataclasses

import pytest

import prune_ssl
from prune_ssl.fields_in_help import with_fields

SHOWN = [
    "PruningConfig",
    "DistillationConfig",
    "Measurement",
    "Timing",
    "RunFacts",
    "ExportData",
    "JudgingConfig",
]


@pytest.mark.parametrize("name", SHOWN)
def test_every_field_of_a_public_class_is_explained_in_its_help(name):
    kind = getattr(prune_ssl, name)
    section = kind.__doc__.partition("\nAttributes:\n")[2]
    explained = {line.strip().partition(":")[0] for line in section.splitlines()}
    assert {field.name for field in dataclasses.fields(kind)} == explained


def test_a_class_without_source_stays_as_it_is():
    made = type("Made", (), {"__doc__": "Made at run time."})
    assert with_fields(made).__doc__ == "Made at run time."
