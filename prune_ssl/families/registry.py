"""The table of families, and which one a model is of."""

import re

from torch import nn

from prune_ssl.errors import ModelError
from prune_ssl.families.conformer import CONFORMER, W2V_BERT
from prune_ssl.families.data2vec import DATA2VEC_AUDIO
from prune_ssl.families.family import Family
from prune_ssl.families.hubert import HUBERT
from prune_ssl.families.position_bias import PositionBias
from prune_ssl.families.sew import SEW, SEW_D
from prune_ssl.families.torchaudio import FUSED_ATTENTION, MODULES, OUTER, TORCHAUDIO, TORCHAUDIO_WAVLM
from prune_ssl.families.unispeech import UNISPEECH, UNISPEECH_SAT
from prune_ssl.families.wav2vec2 import WAV2VEC2
from prune_ssl.families.wavlm import WAVLM

PRUNED_PREFIX = "pruned_"
"""Begins the `model_type` of a pruned config."""

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        WAV2VEC2,
        HUBERT,
        WAVLM,
        DATA2VEC_AUDIO,
        UNISPEECH,
        UNISPEECH_SAT,
        SEW,
        SEW_D,
        CONFORMER,
        W2V_BERT,
        TORCHAUDIO,
        TORCHAUDIO_WAVLM,
    )
}


def families_of_transformers() -> dict[str, Family]:
    """Return the families whose classes are in transformers, by name: the `model_type` of a config."""
    return {name: family for name, family in FAMILIES.items() if family.library == "transformers"}


def family_of(model: nn.Module) -> Family:
    """Return the family of `model`.

    Raises:
        ModelError: the model has no config with a known `model_type`.
    """
    if type(model).__module__.startswith(MODULES):
        kinds = (FUSED_ATTENTION, PositionBias)
        fused = any(isinstance(module, kinds) for module in model.modules())
        return TORCHAUDIO_WAVLM if fused else TORCHAUDIO
    config = getattr(model, "config", None)
    model_type = getattr(config, "model_type", None)
    if isinstance(model_type, str):
        family = FAMILIES.get(model_type.removeprefix(PRUNED_PREFIX))
        if family is not None:
            return family
    found = f"model_type {model_type!r}" if model_type else "no Hugging Face config"
    raise ModelError(
        f"{type(model).__name__} is not a speech SSL model that can be traced: found {found}, wanted one of "
        f"{', '.join(FAMILIES)}. Give a model of these families (bare or with a head)."
    )


def head_reader_of(model: nn.Module, family: Family) -> str | None:
    """Return the path of the head's Linear that reads the encoder's output, None where none is known."""
    suffix = re.sub(r"^.*?(For\w+|)$", r"\1", type(model).__name__)
    return dict(family.head_readers).get(suffix)


def backbone_of(model: nn.Module) -> tuple[str, nn.Module]:
    """Return the path and module of the SSL backbone inside `model` ("" when the model is bare).

    Raises:
        ModelError: the model's declared backbone attribute is missing.
    """
    prefix = getattr(model, "base_model_prefix", "")
    backbone = getattr(model, prefix, None) if prefix else None
    if isinstance(backbone, nn.Module):
        return prefix, backbone
    inner = getattr(model, OUTER, None)
    if isinstance(inner, nn.Module):
        return OUTER, inner
    if hasattr(model, "encoder") and (
        hasattr(model, "feature_projection") or hasattr(model, "feature_extractor")
    ):
        return "", model
    raise ModelError(
        f"{type(model).__name__} has neither a backbone attribute {prefix!r} nor feature_projection "
        "and encoder of its own, so its parts cannot be found. Give a speech SSL model of transformers, "
        "bare or with a head."
    )
