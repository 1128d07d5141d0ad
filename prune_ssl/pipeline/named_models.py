"""The model that a recipe names: loaded, with those fields of `model.config` that apply to it."""

import re
from collections.abc import Callable
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor

from prune_ssl.errors import ModelError
from prune_ssl.models import load_model
from prune_ssl.models.loading import load_config
from prune_ssl.models.registry import PRUNED_PREFIX
from prune_ssl.models.xvector import XVECTOR_FIELDS
from prune_ssl.recipes import ModelPart
from prune_ssl.tasks.inference import load_extractor

TRAINING_ONLY = re.compile(r"\w*dropout\w*|layerdrop|apply_spec_augment|mask_(time|feature)_\w+")
"""Fields of a config that change only how a model is trained, not what it computes."""
SET_BY_TASKS = ("num_labels", "vocab_size")
"""Fields that follow from the data. A recipe gives them only for `--architecture`."""


def load_named(
    part: ModelPart, name: str, say: Callable[[str], None]
) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    """Load the model that a recipe names, with the fields of `model.config` that apply to it.

    Raises:
        ModelError: there is no such model, or it is of another family.
    """
    config = load_config(name)
    family = config.model_type.removeprefix(PRUNED_PREFIX)
    if "family" in part.model_fields_set and part.family != family:
        raise ModelError(
            f"model.family is {part.family}, but {name} is a {family} model: give model.family={family}, or "
            "another model.name."
        )
    settings = named_settings(part, config, say)
    loaded = load_model(name, settings, head=part.head, allow_pickle=part.allow_pickle)
    loaded.config.update(_shape_of_new_head(part, config))
    return loaded, load_extractor(name)


def named_settings(part: ModelPart, config: PreTrainedConfig, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the fields of `model.config` that apply to a named model, and print those that do and do not.

    A recipe that makes its model can be started from a named one instead (`model.name=FOLDER`, a sweep). So
    fields that only a new model could have are not an error.

    Args:
        part: The section `model`, which names the model.
        config: The model's own config.
        say: Called with one line for the fields that apply, and one for the others.
    """
    fields = config.to_dict()
    differing = {
        key: value
        for key, value in part.config.items()
        if key not in SET_BY_TASKS and _plain(fields.get(key)) != _plain(value)
    }
    taken = {key: value for key, value in differing.items() if TRAINING_ONLY.fullmatch(key) and key in fields}
    used = {*taken, *_shape_of_new_head(part, config)}
    left = [key for key in differing if key not in used] + ["pass_on"] * part.pass_on
    if taken:
        shown = ", ".join(f"{key}={value}" for key, value in taken.items())
        say(f"  note: {part.name} is trained with model.config of the recipe: {shown}")
    if left:
        say(f"  note: {part.name} has its own architecture and weights; not used: {', '.join(left)}")
    return taken


def _shape_of_new_head(part: ModelPart, config: PreTrainedConfig) -> dict[str, Any]:
    """Return the fields of `model.config` that shape an x-vector head, if the named model has none itself."""
    has_one = any(name.endswith("ForXVector") for name in config.architectures or ())
    if has_one and part.head == "keep":
        return {}
    return {key: value for key, value in part.config.items() if key in XVECTOR_FIELDS}


def _plain(value: object) -> object:
    """Return a value as JSON would hold it."""
    return list(value) if isinstance(value, tuple) else value
