"""Checks of a config.json as plain data, before transformers makes anything of its size."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

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
"""Field -> the greatest whole number that any real model could have there."""
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
MAY_BE_NEGATIVE = frozenset({"max_position_embeddings", "position_buckets"})  # -1: as many as there are
LISTS = (("conv_dim", "conv_kernel", "conv_stride"), ("tdnn_dim", "tdnn_kernel", "tdnn_dilation"))
"""Fields that hold one whole number for each layer of a part."""
MOST_ENTRIES, MOST_IN_LIST = 100, 1_000_000
SHARES = re.compile(r"\w*dropout|layerdrop|mask_(time|feature)_prob")
ACTIVATION = re.compile(r"\w+_act|\w+_activation|activation_function")
DTYPE_FIELDS = ("dtype", "torch_dtype")
DTYPES = ("float32", "float16", "bfloat16", "float64")
FORMAT_VERSION = 1
PARTS = ("attention", "feed_forward", "feed_forward1", "feed_forward2", "conv_module", "layer")
"""What `removed` of a pruned layer may name."""


def check_config(fields: Mapping[str, Any], where: str) -> None:
    """Refuse a config that no model can be made of, by the first field that is wrong.

    Args:
        fields: what config.json holds.
        where: the file, for the message.

    Raises:
        ModelError: a field has another type than it must, or a value out of range.
    """

    def refuse(field: str, wanted: str, found: Any = None) -> None:
        shown = repr(fields.get(field) if found is None else found)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        raise ModelError(f"{where}: {field}: found {shown}, wanted {wanted}. Correct the config.")

    model_type = fields.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        found = "nothing" if model_type is None else model_type
        refuse("model_type", f"one of {', '.join(_known())}", found)
    names = fields.get("architectures")
    if names is not None and not (isinstance(names, list) and all(isinstance(each, str) for each in names)):
        refuse("architectures", "a list of class names")
    for name, value in fields.items():
        if isinstance(value, float) and not math.isfinite(value):
            refuse(name, "a finite number")
    for name in DTYPE_FIELDS:
        value = fields.get(name)
        if value is not None and not (isinstance(value, str) and value.removeprefix("torch.") in DTYPES):
            refuse(name, f"one of {', '.join(DTYPES)}")
    for name in filter(ACTIVATION.fullmatch, fields):
        value = fields.get(name)
        if value is not None and not (isinstance(value, str) and value in ACT2FN):
            refuse(name, "an activation of transformers, such as gelu or relu")
    _check_numbers(fields, refuse)
    _check_lists(fields, refuse)
    _check_labels(fields, refuse)
    _check_pruned(fields, refuse)


def _known() -> list[str]:
    return [name for name, family in FAMILIES.items() if family.classes]


def _own_names(fields: Mapping[str, Any]) -> Mapping[str, str]:
    """Return standard name of a size -> the name that the family's config has for it, where they differ."""
    family = FAMILIES.get(str(fields.get("model_type")).removeprefix(PRUNED_PREFIX))
    if family is None or family.classes is None:
        return {}
    return {**family.stock("config").attribute_map, "intermediate_size": family.ffn_field}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_numbers(fields: Mapping[str, Any], refuse: Any) -> None:
    own = _own_names(fields)
    for name, most in MOST.items():
        value = fields.get(own.get(name, name))
        if value is None:
            continue
        least = -1 if name in MAY_BE_NEGATIVE else 0 if name in MAY_BE_ZERO else 1
        if not _is_whole(value) or not least <= value <= most:
            refuse(own.get(name, name), f"a whole number of {least} to {most:,}")
    for name, value in fields.items():
        if not SHARES.fullmatch(name) or not isinstance(value, int | float):
            continue  # transformers refuses what is no number
        if isinstance(value, bool) or not 0 <= value <= 1:
            refuse(name, "a number of 0 to 1")
    value = fields.get("layer_norm_eps")
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1
    ):
        refuse("layer_norm_eps", "a small number above 0")
    names = [own.get(name, name) for name in ("hidden_size", "num_attention_heads")]
    hidden, heads = map(fields.get, names)
    if hidden and heads and not fields.get("head_size") and hidden % heads:
        refuse(names[1], f"a divisor of {names[0]} ({hidden})")
    groups = fields.get("num_conv_pos_embedding_groups")
    if hidden and groups and hidden % groups:
        refuse("num_conv_pos_embedding_groups", f"a divisor of hidden_size ({hidden})")


def _check_lists(fields: Mapping[str, Any], refuse: Any) -> None:
    for names in LISTS:
        lengths = {}
        for name in names:
            value = fields.get(name)
            if value is None:
                continue
            fits = isinstance(value, list | tuple) and 0 < len(value) <= MOST_ENTRIES
            if not fits or not all(_is_whole(each) and 0 < each <= MOST_IN_LIST for each in value):
                refuse(name, "a list of one whole number above 0 for each layer")
            lengths[name] = len(value)
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            refuse(next(iter(lengths)), f"lists of one length ({shown})")
    dims, count = fields.get("conv_dim"), fields.get("num_feat_extract_layers")
    if dims is not None and count is not None and len(dims) != count:
        refuse("num_feat_extract_layers", f"{len(dims)}, the length of conv_dim")


def _check_labels(fields: Mapping[str, Any], refuse: Any) -> None:
    labels = fields.get("id2label")
    if labels is not None:
        if not isinstance(labels, dict) or not all(_is_index(key, MOST["num_labels"]) for key in labels):
            refuse("id2label", "a mapping from class indices to labels")
        if not all(isinstance(label, str | int | float) for label in labels.values()):
            refuse("id2label", "a label, such as a word, for every index")
        if sorted(int(key) for key in labels) != list(range(len(labels))):
            refuse("id2label", "the indices from 0 on, each once")
    back = fields.get("label2id")
    if back is not None and (
        not isinstance(back, dict) or not all(_is_index(each, MOST["num_labels"]) for each in back.values())
    ):
        refuse("label2id", "a mapping from labels to class indices")


def _is_index(value: Any, below: int) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"[0-9]{1,9}", value) is not None and int(value) < below
    return _is_whole(value) and 0 <= value < below


def _check_pruned(fields: Mapping[str, Any], refuse: Any) -> None:
    """The fields that a pruned config has beside the stock ones."""
    if not str(fields.get("model_type")).startswith(PRUNED_PREFIX):
        return
    version = fields.get("prune_format_version", FORMAT_VERSION)
    if not _is_whole(version) or not 1 <= version <= FORMAT_VERSION:
        refuse("prune_format_version", f"{FORMAT_VERSION} (a newer prune_ssl may have written it)")
    layers = fields.get(_own_names(fields).get("num_hidden_layers", "num_hidden_layers"), 12)
    sizes = fields.get("pruned_layers")
    if sizes is not None:
        if not isinstance(sizes, dict) or not all(_is_index(key, layers) for key in sizes):
            shown = f"an entry for some of the layers 0 to {layers - 1}"
            refuse("pruned_layers", shown, list(sizes) if isinstance(sizes, dict) else sizes)
        for index, entry in sizes.items():
            _check_layer(f"pruned_layers.{index}", entry, fields, refuse)
    maps = fields.get("reused_maps")
    if maps is not None and not (
        isinstance(maps, list) and all(_is_whole(each) and 0 < each < layers for each in maps)
    ):
        refuse("reused_maps", f"a list of layers, of 1 to {layers - 1}")
    for name, whole in (("residual_dims", True), ("residual_scales", False)):
        _check_residual(name, fields, refuse, whole)
    for name in ("project_features", "bare_projection"):
        if not isinstance(fields.get(name, False), bool):
            refuse(name, "true or false")


def _check_residual(name: str, fields: Mapping[str, Any], refuse: Any, whole: bool) -> None:
    value = fields.get(name)
    if value is None:
        return
    kinds: Any = int if whole else int | float
    fits = isinstance(value, list) and all(isinstance(x, kinds) and not isinstance(x, bool) for x in value)
    if not fits or len(value) > MOST["hidden_size"] or not all(math.isfinite(each) for each in value):
        refuse(name, "a list of numbers, one for each dimension that is left")
    if whole and not all(0 <= each < MOST["hidden_size"] for each in value):
        refuse(name, "a list of dimensions of the original residual stream")


def _check_layer(where: str, entry: Any, fields: Mapping[str, Any], refuse: Any) -> None:
    if not isinstance(entry, dict):
        refuse(where, "the sizes of the layer by name", entry)
    family = FAMILIES.get(str(fields["model_type"]).removeprefix(PRUNED_PREFIX))
    widths = [ffn.field for ffn in family.ffns] if family is not None else []
    heads = _own_names(fields).get("num_attention_heads", "num_attention_heads")
    counts = {
        "num_attention_heads": fields.get(heads, MOST["num_attention_heads"]),
        "head_dim": MOST["head_size"],
        "conv_channels": MOST["hidden_size"],
        **dict.fromkeys(widths, MOST["intermediate_size"]),
    }
    for name, value in entry.items():
        place = f"{where}.{name}"
        if name in counts:
            if not _is_whole(value) or not 0 <= value <= counts[name]:
                refuse(place, f"a whole number of 0 to {counts[name]:,}", value)
        elif name == "removed":
            if not isinstance(value, list) or not _all_in(value, PARTS):
                refuse(place, f"a list of some of {', '.join(PARTS)}", value)
        elif name == "heads":
            most = counts["num_attention_heads"]
            if not isinstance(value, list) or not all(_is_whole(x) and 0 <= x < most for x in value):
                refuse(place, f"a list of heads, of 0 to {most - 1}", value)
        else:
            refuse(where, f"only {', '.join([*counts, 'heads', 'removed'])}", name)


def _all_in(values: Iterable[Any], known: Iterable[str]) -> bool:
    return all(isinstance(each, str) and each in known for each in values)
