"""Check `model.config` of a recipe: its fields must exist in a transformers config and make a valid model."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from math import isfinite
from typing import TypeGuard

from transformers.activations import ACT2FN

from prune_ssl.models import FAMILIES

NOT_SET = frozenset(
    {
        *("architectures", "chunk_size_feed_forward", "dtype", "id2label", "is_encoder_decoder", "label2id"),
        *("model_type", "output_attentions", "output_hidden_states", "problem_type", "return_dict"),
        *("transformers_version", "_name_or_path"),
    }
)
"""Fields that transformers or the task sets. A recipe may not set them."""
PROBABILITY = re.compile(r".*(dropout|layerdrop|_prob)$|.*_dropout_prob$")
MOST_OF_A_SIZE, MOST_PARAMETERS = 10**6, 2 * 10**10
"""The largest size that a field may have, and the largest number of parameters of a model."""


@cache
def fields_of(family: str) -> Mapping[str, object]:
    """Return the fields of a family's config that a recipe may set, with their defaults."""
    made = FAMILIES[family].stock("config")().to_dict()
    return {"num_labels": 2} | {name: value for name, value in made.items() if name not in NOT_SET}


def check_config(family: str, given: Mapping[str, object], from_scratch: bool) -> None:
    """Refuse fields that no config has, and values that make no valid model.

    Args:
        family: The family in the recipe. A named model may be of another one.
        given: The section `model.config`.
        from_scratch: Whether the config makes a new model. Otherwise it changes fields of a named model.

    Raises:
        ValueError: a field or a value is refused. The message names the field.
    """
    own = fields_of(family)
    every = {
        name: value for each in FAMILIES if FAMILIES[each].classes for name, value in fields_of(each).items()
    }
    for name, value in given.items():
        if name not in every:
            near = get_close_matches(name, own, n=1, cutoff=0.6)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else f"wanted fields of {FAMILIES[family].stock('config').__name__}."
            )
            raise ValueError(f"unknown field {name!r:.60}; {hint}")
        problem = _problem_with(name, value, own.get(name, every[name]))
        if problem:
            raise ValueError(f"{name}: found {value!r:.60}, wanted {problem}")
    if from_scratch:
        _check_together({**own, **given})


def _problem_with(name: str, value: object, default: object) -> str | None:
    """Return the wanted kind of value if a value is wrong, else None. transformers checks the types."""
    if not _is_finite(value):
        return "finite numbers"
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+\.?\d*[eE][-+]?\d+", value):
        return f"a number; YAML reads {value} as text: write it with a point and a sign, such as 1.0e-5"
    if name.endswith(("_act", "_activation")) and isinstance(value, str):
        return None if value in ACT2FN else f"one of {', '.join(sorted(ACT2FN))}"
    if PROBABILITY.fullmatch(name) and isinstance(value, (int, float)):
        return None if 0 <= value <= 1 else "a number from 0 to 1"
    counted = isinstance(default, int) and not isinstance(default, bool) and default > 0
    if counted and not name.endswith(("_id", "_masks")) and isinstance(value, int):
        return None if _is_size(value) else f"a whole number from 1 to {MOST_OF_A_SIZE}"
    of_sizes = isinstance(default, (list, tuple)) and all(isinstance(each, int) for each in default)
    if of_sizes and isinstance(value, list):
        right = 0 < len(value) <= 100 and all(map(_is_size, value))
        return None if right else f"1 to 100 whole numbers from 1 to {MOST_OF_A_SIZE}"
    return None


def _is_finite(value: object) -> bool:
    """Return whether all numbers in a value are finite. Otherwise recipe.yaml could not be read again."""
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or isfinite(value)


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_OF_A_SIZE


def _check_together(config: Mapping[str, object]) -> None:
    """Refuse sizes that contradict each other, and models that no machine can hold."""
    names = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads")
    sizes = [size for name in names if _is_size(size := config.get(name))]
    widths, kernels = config.get("conv_dim"), config.get("conv_kernel")
    if (
        len(sizes) < len(names)
        or not isinstance(widths, list | tuple)
        or not isinstance(kernels, list | tuple)
    ):
        return  # transformers refuses such a config
    hidden, layers, inner, _ = sizes
    for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
        if _is_size(part := config.get(name)) and hidden % part:
            raise ValueError(f"hidden_size {hidden} is not a multiple of {name} {part}")
    convolutions = zip(widths, [1, *widths], kernels, strict=False)
    count = layers * hidden * (4 * hidden + 2 * inner) + sum(a * b * kernel for a, b, kernel in convolutions)
    if count > MOST_PARAMETERS or layers > 1_000:
        raise ValueError(
            f"{layers} layers and about {count:,} parameters; wanted at most 1,000 and {MOST_PARAMETERS:,}"
        )
