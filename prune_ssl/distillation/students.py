"""Owns small students: made from a teacher by choosing layers and widths, and the shapes of the papers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from prune_ssl.distillation.taps import depth_of
from prune_ssl.errors import DistillationError
from prune_ssl.models import Family, backbone_of, family_of
from prune_ssl.models.arguments import as_model, check_types, shown
from prune_ssl.models.origin import hand_on_origin
from prune_ssl.models.pruned import PRUNED_CLASSES
from prune_ssl.models.transformers_internals import attention_of, state_attention

# Kernel and stride of the thin frontend (methods 6.1): two 1x1 convolutions more, which change channels.
THIN_KERNELS = ((10, 5), (1, 1), (3, 2), (3, 2), (3, 2), (3, 2), (1, 1), (2, 2), (2, 2))
THIN_WIDTHS = (128, 256, 256, 256, 256, 256)  # then three layers as wide as the encoder
OF_WIDTH = 512  # of the teacher's convolutions, to which the thin widths are in proportion


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """Shape of a student; what is None stays as the teacher has it."""

    layers: int | Sequence[int] | None = None
    """The first so many encoder layers, or which ones (indices from 0; `range(0, 12, 2)` is every second)."""
    hidden_size: int | None = None
    """The width of the encoder."""
    intermediate_size: int | None = None
    """FFN neurons of each layer."""
    num_attention_heads: int | None = None
    """Attention heads of each layer."""
    thin_frontend: bool = False
    """The frontend of ARM and STaR, and no projection after it. Its widths are in proportion to the teacher's
    widest convolution: those of the papers for one of 512 channels."""
    projection_norm: bool | None = None
    """LayerNorm before the projection; DistilHuBERT has none."""
    mask_embedding: bool | None = None
    """A learned embedding for masked frames; masking distillation needs it."""
    reuse: Literal["even"] | Sequence[int] | None = None
    """Layers that take the attention map of the layer below, as in `reuse_attention`."""
    init: Literal["teacher", "random"] = "teacher"
    """`teacher` copies every parameter of the same shape, and the leading entries of larger ones."""

    def __post_init__(self) -> None:
        check_types(self, DistillationError)


STUDENTS: dict[str, StudentConfig] = {
    "distilhubert": StudentConfig(layers=2, projection_norm=False, mask_embedding=False),
    "star_hubert": StudentConfig(
        hidden_size=432, intermediate_size=976, thin_frontend=True, mask_embedding=False, init="random"
    ),
    "star_hubert_l": StudentConfig(
        hidden_size=432, intermediate_size=1392, thin_frontend=True, mask_embedding=False, init="random"
    ),
    "armhubert": StudentConfig(
        hidden_size=480,
        intermediate_size=864,
        thin_frontend=True,
        mask_embedding=True,
        reuse="even",
        init="random",
    ),
    "armhubert_s": StudentConfig(
        hidden_size=432,
        intermediate_size=816,
        thin_frontend=True,
        mask_embedding=True,
        reuse="even",
        init="random",
    ),
    "maskhubert": StudentConfig(
        hidden_size=480, intermediate_size=640, thin_frontend=True, mask_embedding=True, init="random"
    ),
}
"""The students of the papers, for a Base teacher (methods 5, 6.1, 7)."""


def make_student(teacher: PreTrainedModel | str | Path, config: StudentConfig | str) -> PreTrainedModel:
    """Make a bare student of the teacher's family; the teacher is untouched.

    Args:
        teacher: a stock model of transformers, bare or with a head, or its folder or hub name.
        config: a shape, or the name of one in `STUDENTS`.

    Returns:
        A model in float32 that `save_pretrained` takes; a stock one where the shape allows it.

    Raises:
        DistillationError: an unknown name, a layer that the teacher does not have, or widths that do not fit.
        ModelError: the teacher's family cannot take the shape.
    """
    if isinstance(config, str):
        if config not in STUDENTS:
            raise DistillationError(f"there is no student {config!r}; wanted one of {', '.join(STUDENTS)}.")
        config = STUDENTS[config]
    if not isinstance(config, StudentConfig):
        raise DistillationError(f"make_student: found {shown(config)}, wanted a StudentConfig or a name.")
    model = as_model(teacher, "make_student")
    backbone: Any = backbone_of(model)[1]
    chosen = _layers(config.layers, depth_of(model))
    fields = _fields(config, backbone.config, len(chosen), family_of(model))
    special: dict[str, object] = {"bare_projection": True} if config.thin_frontend else {}
    if config.reuse is not None:
        special |= _reuse_fields(config.reuse, len(chosen))
    if special and type(backbone) not in PRUNED_CLASSES:
        raise DistillationError(
            f"a student with {', '.join(special)} can be made from a stock model of transformers only; found "
            f"{type(backbone).__name__}."
        )
    made: Any = PRUNED_CLASSES[type(backbone)] if special else type(backbone)
    fields = _plain_fields(backbone.config) | fields | special
    student: PreTrainedModel = made(made.config_class(**fields))
    if config.init == "teacher":
        _copy_weights(backbone, student, chosen)
    student.eval()
    return student


def reuse_attention(
    model: PreTrainedModel | str | Path, layers: Literal["even"] | Sequence[int] = "even"
) -> PreTrainedModel:
    """Return a copy of `model` in which some layers take the attention map of the layer below (ARM).

    These layers have no queries and keys: 2 (D^2 + D) parameters and 2 T D^2 + T^2 D MACs fewer each (methods
    6.2). The map is used as it is; the published code applies softmax to it again. Heads that share maps
    cannot be pruned; all else can. LayerDrop is off in the copy.

    Args:
        model: a wav2vec 2.0 or HuBERT model of transformers, with or without a head, pruned or not.
        layers: `even` for the 2nd, 4th, ..., or indices from 0; the first layer has no map below it.

    Raises:
        ModelError: the first layer is named, or head counts differ.
        DistillationError: the class of the model is not known.
    """
    model = cast(PreTrainedModel, as_model(model, "reuse_attention"))
    cls: Any = type(model)
    target: Any = cls if cls in PRUNED_CLASSES.values() else PRUNED_CLASSES.get(cls)
    if target is None:
        raise DistillationError(f"{cls.__name__} is not a class of transformers that prune_ssl can rebuild.")
    fields = _plain_fields(model.config) | _reuse_fields(layers, depth_of(model))
    config = target.config_class(**fields)
    state_attention(config, attention_of(model.config))
    made: PreTrainedModel = target(config)
    weights = model.state_dict()
    made.load_state_dict({name: weights[name] for name in made.state_dict()})
    made.train(model.training)
    hand_on_origin(model, made)
    return made


def _plain_fields(config: PreTrainedConfig) -> dict[str, object]:
    return {key: value for key, value in config.to_dict().items() if key not in _NOT_COPIED}


_NOT_COPIED = ("model_type", "transformers_version", "architectures", "auto_map")


def _reuse_fields(layers: Literal["even"] | Sequence[int], depth: int) -> dict[str, object]:
    indices = list(range(1, depth, 2)) if layers == "even" else sorted(int(each) for each in layers)
    return {"reused_maps": indices, "layerdrop": 0.0}  # a layer that is dropped leaves no map behind


def _layers(layers: int | Sequence[int] | None, depth: int) -> tuple[int, ...]:
    chosen = range(depth) if layers is None else range(layers) if isinstance(layers, int) else layers
    wrong = [each for each in chosen if not 0 <= each < depth]
    if wrong or not len(chosen):
        raise DistillationError(
            f"layers: found {list(chosen)}, wanted at least one, of 0 to {depth - 1} (the teacher's layers)."
        )
    return tuple(chosen)


def _fields(config: StudentConfig, teacher: Any, depth: int, family: Family) -> dict[str, object]:
    """Return the fields of transformers' config that differ from the teacher's."""
    hidden = config.hidden_size or teacher.hidden_size
    heads = config.num_attention_heads or teacher.num_attention_heads
    groups = getattr(teacher, "num_conv_pos_embedding_groups", 1)
    if hidden % heads or hidden % groups:
        raise DistillationError(
            f"hidden_size: found {hidden}, wanted a multiple of {heads} heads and of {groups} groups of the "
            "positional convolution."
        )
    sizes = {"num_hidden_layers": depth, "hidden_size": hidden, "num_attention_heads": heads}
    fields: dict[str, object] = {teacher.attribute_map.get(name, name): size for name, size in sizes.items()}
    fields[family.ffn_field] = config.intermediate_size or getattr(teacher, family.ffn_field)
    if config.thin_frontend and not family.states_conv_widths:
        raise DistillationError(
            f"thin_frontend: the frontend of {type(teacher).__name__} has no widths of its own."
        )
    if config.thin_frontend:
        widest = max(teacher.conv_dim)
        thin = [max(round(width * widest / OF_WIDTH), 1) for width in THIN_WIDTHS]
        fields["conv_dim"] = [*thin, *[hidden] * (len(THIN_KERNELS) - len(thin))]
        fields["conv_kernel"] = [kernel for kernel, _ in THIN_KERNELS]
        fields["conv_stride"] = [stride for _, stride in THIN_KERNELS]
        fields["num_feat_extract_layers"] = len(THIN_KERNELS)
    if config.projection_norm is not None:
        fields["feat_proj_layer_norm"] = config.projection_norm
    if config.mask_embedding is not None:  # transformers makes one where it masks in training
        probability = (teacher.mask_time_prob or 0.05) if config.mask_embedding else 0.0
        fields |= {"mask_time_prob": probability, "mask_feature_prob": 0.0}
    return fields


@torch.no_grad()
def _copy_weights(teacher: nn.Module, student: nn.Module, chosen: Sequence[int]) -> None:
    # With buffers: the frontend of a pruned model scales its channels by one.
    source, layers = teacher.state_dict(), family_of(teacher).layers_path.split(".")
    for name, parameter in student.state_dict().items():
        parts = name.split(".")
        if parts[: len(layers)] == layers:
            parts[len(layers)] = str(chosen[int(parts[len(layers)])])
        given = source.get(".".join(parts))
        if given is None or given.dim() != parameter.dim():
            continue
        if all(own <= other for own, other in zip(parameter.shape, given.shape, strict=True)):
            parameter.copy_(given[tuple(slice(size) for size in parameter.shape)])
