"""The family table: what no graph can know about a speech SSL architecture, as data."""

from dataclasses import dataclass

from torch import nn

from prune_ssl.errors import ModelError

PRUNED_PREFIX = "pruned_"


@dataclass(frozen=True, kw_only=True)
class Family:
    """Where the roles of one architecture sit; paths are relative to the backbone, `{i}` counts layers.

    `queries`, `keys`, `values`, `output` are the Linear quadruple of one attention; `sections` maps a path
    prefix to its section, the longest matching prefix wins; everything outside the backbone is `head`.
    """

    name: str
    conv: str = "feature_extractor.conv_layers.{i}.conv"
    attention: str = "encoder.layers.{i}.attention"
    queries: str = "q_proj"
    keys: str = "k_proj"
    values: str = "v_proj"
    output: str = "out_proj"
    ffn: str = "encoder.layers.{i}.feed_forward"
    ffn_in: str = "intermediate_dense"
    ffn_out: str = "output_dense"
    sections: tuple[tuple[str, str], ...] = (
        ("feature_extractor", "frontend"),
        ("feature_projection", "projection"),
        ("masked_spec_embed", "projection"),
        ("encoder.pos_conv_embed", "position"),
        ("encoder", "encoder"),
        ("adapter", "head"),
    )
    # Linears outside the backbone that read the (normalised) output of the last convolution through an
    # operation without a gradient, which a graph built from autograd cannot see (the quantiser's argmax).
    last_conv_readers: tuple[str, ...] = ()


FAMILIES: dict[str, Family] = {
    "wav2vec2": Family(name="wav2vec2", last_conv_readers=("quantizer.weight_proj",)),
    "hubert": Family(name="hubert"),
}


def family_of(model: nn.Module) -> Family:
    """Return the family of `model`.

    Raises:
        ModelError: the model has no config with a known `model_type`.
    """
    config = getattr(model, "config", None)
    model_type = getattr(config, "model_type", None)
    if isinstance(model_type, str):
        family = FAMILIES.get(model_type.removeprefix(PRUNED_PREFIX))
        if family is not None:
            return family
    found = f"model_type {model_type!r}" if model_type else "no Hugging Face config"
    raise ModelError(
        f"{type(model).__name__} is not a speech SSL model that can be traced: found {found}, wanted one of "
        f"{', '.join(FAMILIES)}. Give a wav2vec 2.0 or HuBERT model of transformers (bare or with a head)."
    )


def backbone_of(model: nn.Module) -> tuple[str, nn.Module]:
    """Return the path and module of the SSL backbone inside `model` ("" when the model is bare).

    Raises:
        ModelError: the model's declared backbone attribute is missing.
    """
    prefix = getattr(model, "base_model_prefix", "")
    backbone = getattr(model, prefix, None) if prefix else None
    if isinstance(backbone, nn.Module):
        return prefix, backbone
    if hasattr(model, "feature_extractor") and hasattr(model, "encoder"):
        return "", model
    raise ModelError(
        f"{type(model).__name__} has neither a backbone attribute {prefix!r} nor feature_extractor "
        "and encoder of its own, so its parts cannot be found. Give a wav2vec 2.0 or HuBERT model "
        "of transformers."
    )
