"""Checks the fields of a config.json as plain data, before transformers allocates anything of their sizes."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn, TypeGuard

from transformers.activations import ACT2FN

from prune_ssl.errors import ModelError
from prune_ssl.models.registry import FAMILIES, PRUNED_PREFIX

MOST = {
    "hidden_size": 65_536,
    "output_hidden_size": 65_536,
    "intermediate_size": 1_000_000,
    "num_hidden_layers": 1_000,
    "num_attention_heads": 4_096,
    "vocab_size": 10_000_000,
    "num_labels": 1_000_000,
    "num_feat_extract_layers": 100,
    "num_conv_pos_embeddings": 10_000,
    "num_conv_pos_embedding_groups": 65_536,
    "conv_pos_kernel_size": 10_000,
    "classifier_proj_size": 1_000_000,
    "codevector_dim": 1_000_000,
    "proj_codevector_dim": 1_000_000,
    "num_codevectors_per_group": 1_000_000,
    "num_codevector_groups": 1_000,
    "num_clusters": 1_000_000,
    "num_ctc_classes": 10_000_000,
    "xvector_output_dim": 1_000_000,
    "num_adapter_layers": 1_000,
    "adapter_kernel_size": 10_000,
    "adapter_stride": 10_000,
    "adapter_attn_dim": 65_536,
    "squeeze_factor": 1_000,
    "max_position_embeddings": 1_000_000,
    "position_buckets": 1_000_000,
    "max_source_positions": 1_000_000,
    "num_mel_bins": 65_536,
    "num_buckets": 1_000_000,
    "max_bucket_distance": 1_000_000_000,
    "conv_depthwise_kernel_size": 10_000,
    "feature_projection_input_dim": 65_536,
    "left_max_position_embeddings": 1_000_000,
    "right_max_position_embeddings": 1_000_000,
    "head_size": 65_536,
    "position_size": 65_536,
    "upsampled_size": 65_536,
}
"""Field -> the greatest whole number that a real model could have there."""
MAY_BE_ZERO = frozenset(
    {
        "num_hidden_layers",
        "num_labels",
        "num_adapter_layers",
        "max_position_embeddings",
        "position_buckets",
        "num_ctc_classes",
        "left_max_position_embeddings",
        "right_max_position_embeddings",
    }
)
MAY_BE_NEGATIVE = frozenset({"max_position_embeddings", "position_buckets"})
"""-1 stands for as many positions as there are."""
LISTS = (("conv_dim", "conv_kernel", "conv_stride"), ("tdnn_dim", "tdnn_kernel", "tdnn_dilation"))
"""Fields that hold one whole number for each layer of a part; the lists of one part have the same length."""
MOST_ENTRIES, MOST_IN_LIST = 100, 1_000_000
SHARES = re.compile(r"\w*dropout|layerdrop|mask_(time|feature)_prob")
"""Names of the fields that hold a probability."""
ACTIVATION = re.compile(r"\w+_act|\w+_activation|activation_function")
"""Names of the fields that hold the name of an activation."""
DTYPE_FIELDS = ("dtype", "torch_dtype")
DTYPES = ("float32", "float16", "bfloat16", "float64")
FORMAT_VERSION = 1
SEALS_FIELD = "prune_ssl"
"""The field that lists the seals of the files of weights, with the versions of the format and the package."""
PARTS = ("attention", "feed_forward", "feed_forward1", "feed_forward2", "conv_module", "layer")
"""The names that `removed` of a pruned layer may hold."""
DEFAULT_LAYERS = 12
"""The number of layers that the config classes of transformers take when the field is missing."""


@dataclass(frozen=True)
class _Config:
    """The fields of a config.json, and the file for the message of a refusal."""

    fields: Mapping[str, object]
    where: str

    def refuse(self, field: str, wanted: str, found: object = None) -> NoReturn:
        """Raise the error for a field; `found` is the value to show if it is not the field's own."""
        shown = repr(self.fields.get(field) if found is None else found)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        raise ModelError(f"{self.where}: {field}: found {shown}, wanted {wanted}. Correct the config.")

    def number(self, field: str, default: int = 0) -> int:
        """Return a field's whole number by its standard name, or the default if it holds none."""
        value = self.fields.get(self.own(field))
        return value if _is_whole(value) else default

    def own(self, standard: str) -> str:
        """Return the name that the config of this family has for a size, such as `d_model` of Whisper's."""
        return self._own_names.get(standard, standard)

    @cached_property
    def _own_names(self) -> Mapping[str, str]:
        family = FAMILIES.get(str(self.fields.get("model_type")).removeprefix(PRUNED_PREFIX))
        if family is None or family.classes is None:
            return {}
        return {**family.stock("config").attribute_map, "intermediate_size": family.ffn_field}


def check_config(fields: Mapping[str, object], where: str) -> None:
    """Refuse a config from which no model can be built; the message names the first wrong field.

    Args:
        fields: the content of config.json.
        where: the file, for the message.

    Raises:
        ModelError: a field has a wrong type, or a value out of range.

    >>> check_config({"model_type": "hubert", "hidden_size": -8}, "config.json")
    Traceback (most recent call last):
    ...
    prune_ssl.errors.ModelError: config.json: hidden_size: found -8, wanted a whole number of 1 to 65,536. \
Correct the config.
    """
    config = _Config(fields, where)
    _check_names(config)
    _check_numbers(config)
    _check_lists(config)
    _check_labels(config)
    _check_seals(config)
    if str(fields.get("model_type")).startswith(PRUNED_PREFIX):
        _check_pruned(config)


def _known() -> list[str]:
    return [name for name, family in FAMILIES.items() if family.classes]


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_names(config: _Config) -> None:
    """Check the model type, the names of classes, dtypes and activations, and that floats are finite."""
    model_type = config.fields.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        found = "nothing" if model_type is None else model_type
        config.refuse("model_type", f"one of {', '.join(_known())}", found)
    names = config.fields.get("architectures")
    if names is not None and not (isinstance(names, list) and all(isinstance(each, str) for each in names)):
        config.refuse("architectures", "a list of class names")
    for name, value in config.fields.items():
        if isinstance(value, float) and not math.isfinite(value):
            config.refuse(name, "a finite number")
    for name in DTYPE_FIELDS:
        value = config.fields.get(name)
        if value is not None and not (isinstance(value, str) and value.removeprefix("torch.") in DTYPES):
            config.refuse(name, f"one of {', '.join(DTYPES)}")
    for name in filter(ACTIVATION.fullmatch, config.fields):
        value = config.fields.get(name)
        if value is not None and not (isinstance(value, str) and value in ACT2FN):
            config.refuse(name, "an activation of transformers, such as gelu or relu")


def _check_numbers(config: _Config) -> None:
    for standard, most in MOST.items():
        name = config.own(standard)
        value = config.fields.get(name)
        if value is None:
            continue
        least = -1 if standard in MAY_BE_NEGATIVE else 0 if standard in MAY_BE_ZERO else 1
        if not _is_whole(value) or not least <= value <= most:
            config.refuse(name, f"a whole number of {least} to {most:,}")
    for name, value in config.fields.items():
        if not SHARES.fullmatch(name) or not isinstance(value, int | float):
            continue  # transformers itself refuses a value that is no number
        if isinstance(value, bool) or not 0 <= value <= 1:
            config.refuse(name, "a number of 0 to 1")
    value = config.fields.get("layer_norm_eps")
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1
    ):
        config.refuse("layer_norm_eps", "a small number above 0")
    hidden, heads = config.number("hidden_size"), config.number("num_attention_heads")
    if hidden and heads and not config.number("head_size") and hidden % heads:
        wanted = f"a divisor of {config.own('hidden_size')} ({hidden})"
        config.refuse(config.own("num_attention_heads"), wanted)
    groups = config.number("num_conv_pos_embedding_groups")
    if hidden and groups and hidden % groups:
        config.refuse("num_conv_pos_embedding_groups", f"a divisor of hidden_size ({hidden})")


def _check_lists(config: _Config) -> None:
    for names in LISTS:
        lengths = {}
        for name in names:
            value = config.fields.get(name)
            if value is None:
                continue
            fits = isinstance(value, list | tuple) and 0 < len(value) <= MOST_ENTRIES
            entries = list(value) if isinstance(value, list | tuple) else []
            if not fits or not all(_is_whole(each) and 0 < each <= MOST_IN_LIST for each in entries):
                config.refuse(name, "a list of one whole number above 0 for each layer")
            lengths[name] = len(entries)
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            config.refuse(next(iter(lengths)), f"lists of one length ({shown})")
        count = config.fields.get("num_feat_extract_layers")
        if "conv_dim" in lengths and count is not None and lengths["conv_dim"] != count:
            config.refuse("num_feat_extract_layers", f"{lengths['conv_dim']}, the length of conv_dim")


def _check_labels(config: _Config) -> None:
    labels = config.fields.get("id2label")
    if labels is not None:
        if not isinstance(labels, dict) or not all(_is_index(key, MOST["num_labels"]) for key in labels):
            config.refuse("id2label", "a mapping from class indices to labels")
        if not all(isinstance(label, str | int | float) for label in labels.values()):
            config.refuse("id2label", "a label, such as a word, for every index")
        if sorted(int(key) for key in labels) != list(range(len(labels))):
            config.refuse("id2label", "the indices from 0 on, each once")
    back = config.fields.get("label2id")
    if back is not None and (
        not isinstance(back, dict) or not all(_is_index(each, MOST["num_labels"]) for each in back.values())
    ):
        config.refuse("label2id", "a mapping from labels to class indices")


def _is_index(value: object, below: int) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"[0-9]{1,9}", value) is not None and int(value) < below
    return _is_whole(value) and 0 <= value < below


def _check_seals(config: _Config) -> None:
    """Check the field of the seals, and the version of the format in it."""
    stated = config.fields.get(SEALS_FIELD)
    if stated is None:
        return
    if not isinstance(stated, dict):
        config.refuse(SEALS_FIELD, "a mapping with the seals of the files of weights")
    _check_version(config, f"{SEALS_FIELD}.prune_format_version", stated.get("prune_format_version"))
    seals = stated.get("sha256")
    if not isinstance(seals, dict) or not all(isinstance(each, str) for each in [*seals, *seals.values()]):
        config.refuse(f"{SEALS_FIELD}.sha256", "a mapping from files to their seals (SHA-256)", seals)


def _check_version(config: _Config, place: str, version: object) -> None:
    if not _is_whole(version) or not 1 <= version <= FORMAT_VERSION:
        config.refuse(place, f"{FORMAT_VERSION} (a newer prune_ssl may have written it)", version)


def _check_pruned(config: _Config) -> None:
    """Check the fields that a pruned config has in addition to those of its stock class."""
    version = config.fields.get("prune_format_version", FORMAT_VERSION)
    _check_version(config, "prune_format_version", version)
    layers = config.number("num_hidden_layers", DEFAULT_LAYERS)
    sizes = config.fields.get("pruned_layers")
    if sizes is not None:
        if not isinstance(sizes, dict) or not all(_is_index(key, layers) for key in sizes):
            wanted = f"an entry for some of the layers 0 to {layers - 1}"
            config.refuse("pruned_layers", wanted, list(sizes) if isinstance(sizes, dict) else sizes)
        for index, entry in sizes.items():
            _check_layer(f"pruned_layers.{index}", entry, config)
    maps = config.fields.get("reused_maps")
    if maps is not None and not (
        isinstance(maps, list) and all(_is_whole(each) and 0 < each < layers for each in maps)
    ):
        config.refuse("reused_maps", f"a list of layers, of 1 to {layers - 1}")
    _check_residual(config)
    for name in ("project_features", "bare_projection"):
        if not isinstance(config.fields.get(name, False), bool):
            config.refuse(name, "true or false")


def _check_residual(config: _Config) -> None:
    """Check the dimensions that are left of the residual stream, and their scales."""
    for name, kinds in (("residual_dims", (int,)), ("residual_scales", (int, float))):
        value = config.fields.get(name)
        if value is None:
            continue
        if (
            not isinstance(value, list)
            or len(value) > MOST["hidden_size"]
            or not all(isinstance(each, kinds) and not isinstance(each, bool) for each in value)
            or not all(abs(each) <= sys.float_info.max for each in value)  # also of huge whole numbers
        ):
            config.refuse(name, "a list of numbers, one for each dimension that is left")
        if name == "residual_dims" and not all(0 <= each < MOST["hidden_size"] for each in value):
            config.refuse(name, "a list of dimensions of the original residual stream")


def _check_layer(where: str, entry: object, config: _Config) -> None:
    """Check one entry of `pruned_layers`; `where` is its place in the config."""
    if not isinstance(entry, dict):
        config.refuse(where, "the sizes of the layer by name", entry)
    family = FAMILIES.get(str(config.fields["model_type"]).removeprefix(PRUNED_PREFIX))
    widths = [ffn.field for ffn in family.ffns] if family is not None else []
    heads = config.number("num_attention_heads", MOST["num_attention_heads"])
    counts = {
        "num_attention_heads": heads,
        "head_dim": MOST["head_size"],
        "conv_channels": MOST["hidden_size"],
        **dict.fromkeys(widths, MOST["intermediate_size"]),
    }
    for name, value in entry.items():
        place = f"{where}.{name}"
        if name in counts:
            if not _is_whole(value) or not 0 <= value <= counts[name]:
                config.refuse(place, f"a whole number of 0 to {counts[name]:,}", value)
        elif name == "removed":
            if not isinstance(value, list) or not _all_in(value, PARTS):
                config.refuse(place, f"a list of some of {', '.join(PARTS)}", value)
        elif name == "heads":
            if not isinstance(value, list) or not all(
                _is_whole(each) and 0 <= each < heads for each in value
            ):
                config.refuse(place, f"a list of heads, of 0 to {heads - 1}", value)
        else:
            config.refuse(where, f"only {', '.join([*counts, 'heads', 'removed'])}", name)


def _all_in(values: Iterable[object], known: Iterable[str]) -> bool:
    return all(isinstance(each, str) and each in known for each in values)
