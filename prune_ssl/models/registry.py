"""The table of families, and the questions that are asked of it: whose is a model, where is its backbone."""

import re

from torch import nn

from prune_ssl.errors import ModelError
from prune_ssl.models.family import Family
from prune_ssl.models.inputs import SAMPLE_RATE_HZ

PRUNED_PREFIX = "pruned_"
FAMILIES: dict[str, Family] = {}
"""Name -> family: those of prune_ssl/families, and those that a user registered."""


def family_of(model: nn.Module) -> Family:
    """Return the family of `model`.

    Raises:
        ModelError: the model has no config with a known `model_type`.
    """
    if type(model).__module__.startswith("torchaudio.models."):
        for family in FAMILIES.values():
            if family.recognises is not None and family.recognises(model):
                return family
    config = getattr(model, "config", None)
    model_type = getattr(config, "model_type", None)
    if isinstance(model_type, str):
        found = FAMILIES.get(model_type.removeprefix(PRUNED_PREFIX))
        if found is not None:
            return found
    words = f"model_type {model_type!r}" if model_type else "no Hugging Face config"
    raise ModelError(
        f"{type(model).__name__} is not a speech SSL model that can be traced: found {words}, wanted one of "
        f"{', '.join(FAMILIES)}. Give a model of these families (bare or with a head)."
    )


def head_reader_of(model: nn.Module, family: Family) -> str | None:
    """Return the path of the head's Linear that reads the encoder's output, None where none is known."""
    suffix = re.sub(r"^.*?(For\w+|)$", r"\1", type(model).__name__)
    return dict(family.head_readers).get(suffix)


def backbone_of(model: nn.Module) -> tuple[str, nn.Module]:
    """Return the path and module of the SSL backbone inside `model` ("" when the model is bare).

    Raises:
        ModelError: the model is of no known family, or has no backbone where its family has it.
    """
    family = family_of(model)
    prefix = str(getattr(model, "base_model_prefix", ""))
    first = family.layers_path.partition(".")[0]
    for path in (family.inside, prefix, ""):
        backbone = getattr(model, path, None) if path else model
        if isinstance(backbone, nn.Module) and isinstance(getattr(backbone, first, None), nn.Module):
            return path, backbone
    raise ModelError(
        f"{type(model).__name__} has neither a backbone attribute {family.inside or prefix!r} nor "
        f"{family.layers_path} of its own, so its parts cannot be found. Give a speech SSL model of "
        "transformers, bare or with a head."
    )


def input_shape(model: nn.Module, seconds: float, family: Family | None = None) -> tuple[int, ...]:
    """Return the shape of a batch of one clip: `seconds` of 16 kHz audio, as the model takes it.

    A model of no known family is taken to want samples.
    """
    if family is None:
        try:
            family = family_of(model)
        except ModelError:
            return 1, round(seconds * SAMPLE_RATE_HZ)
    return family.input.shape(seconds, getattr(model, "config", None))
