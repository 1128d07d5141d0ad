"""Sections of a recipe say all that the configs of the package can."""

import dataclasses

from prune_ssl.distillation import DistillationConfig
from prune_ssl.recipes import DistillationPart


def test_recipes_can_say_all_that_a_distillation_config_can():
    fields = {field.name for field in dataclasses.fields(DistillationConfig)}
    assert {field.name for field in dataclasses.fields(DistillationPart)} == fields | {
        "teacher",
        "keep_projections",
    }
