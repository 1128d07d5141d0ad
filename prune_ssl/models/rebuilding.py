"""Says whether class and config are enough to build a model again, and whether its modules are plain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel
from transformers.activations import ACT2CLS

from prune_ssl.errors import ModelError
from prune_ssl.models.architectures import classes_of
from prune_ssl.models.registry import FAMILIES, PRUNED_PREFIX
from prune_ssl.models.skeleton import Shapes, build_on_meta, differences, shapes_of
from prune_ssl.models.torch_internals import hooks_of

ADAPTER_CLASSES = frozenset(
    {"BaseTunerLayer", "BaseTuner", "PeftModel", "LoraLayer", "LoRALayer", "LoRAParametrization"}
)
ADAPTER_NAMES = re.compile(
    r"(^|\.)(lora_[A-Za-z]\w*|base_layer|ia3_l|hada_[wt]\d\w*|lokr_w\d\w*|oft_r|oft_R|boft_[RsS]|vera_lambda_[bd]"
    r"|lora_magnitude_vector|randlora_\w+|adalora_\w+|modules_to_save)(\.|$)"
)
QUANTISED_MODULES = (
    "bitsandbytes.",
    "torchao.",
    "torch.ao.",
    "torch.nn.quantized",
    "torch.nn.quantizable",
    "optimum.quanto",
    "quanto.",
    "hqq.",
    "auto_gptq.",
    "gptqmodel.",
    "awq.",
)
QUANTISED_CLASSES = frozenset(
    {
        "Linear8bitLt",
        "Linear4bit",
        "LinearNF4",
        "LinearFP4",
        "HQQLinear",
        "QuantLinear",
        "WQLinear_GEMM",
        "QLinear",
        "Params4bit",
        "Int8Params",
        "Int8Linear",
    }
)
SIZE_FIELDS = (
    (r"lm_head\.(weight|bias)", 0, "vocab_size"),
    (r"classifier\.(weight|bias)", 0, "num_labels"),
    (r"projector\.(weight|bias)", 0, "classifier_proj_size"),
    (r"objective\.weight", 1, "num_labels"),
)
"""Tensor of a head, its axis -> the field of the config that says its size."""
LAYER = re.compile(r"(?:^|\.)encoder\.(?:encoder\.)?layers?\.(\d+)\.")


def require_plain(model: nn.Module) -> None:
    """Refuse a model whose weights are wrapped, so that a cut would miss a part of them.

    Raises:
        ModelError: there are adapters that are not merged, quantised layers, or parametrisations other than
            weight norm.
    """
    if getattr(model, "is_quantized", False) or getattr(model, "hf_quantizer", None) is not None:
        raise ModelError(_quantised(type(model).__name__, "it says so"))
    for path, module in model.named_modules():
        _require_plain_module(path or type(model).__name__, module)
    for name, parameter in model.named_parameters():
        kind = type(parameter.data)
        if not parameter.is_floating_point() and not parameter.is_complex():
            raise ModelError(_quantised(name, f"{parameter.dtype}"))
        subclass = type(parameter) not in (nn.Parameter, torch.Tensor) or kind not in (
            torch.Tensor,
            nn.Parameter,
        )
        if subclass and "DTensor" not in (type(parameter).__name__, kind.__name__):
            raise ModelError(_quantised(name, f"a {kind.__module__}.{kind.__name__}"))


def _require_plain_module(path: str, module: nn.Module) -> None:
    names = {each.__name__ for each in type(module).__mro__}
    own = [name for name, _ in module.named_parameters(recurse=False)]
    own += [name for name, _ in module.named_children()]
    if names & ADAPTER_CLASSES or any(ADAPTER_NAMES.search(name) for name in own):
        raise ModelError(
            f"{path} ({type(module).__name__}) holds an adapter (LoRA or its kin) that is not merged; a cut "
            "would lose it. Call model = model.merge_and_unload() (peft) first, and give the result."
        )
    modules = {f"{each.__module__}." for each in type(module).__mro__}
    if names & QUANTISED_CLASSES or any(each.startswith(QUANTISED_MODULES) for each in modules):
        raise ModelError(_quantised(path, type(module).__name__))
    if parametrize.is_parametrized(module):
        for tensor, chain in module.get_submodule("parametrizations").named_children():
            odd = [type(each).__name__ for each in chain.children() if type(each).__name__ != "_WeightNorm"]
            if odd:
                raise ModelError(
                    f"{path}.{tensor} is parametrised ({', '.join(odd)}): only plain tensors can be cut. "
                    f"Merge it first: torch.nn.utils.parametrize.remove_parametrizations(module, {tensor!r})."
                )
    hooks = [type(hook).__name__ for hook in hooks_of(module)]
    if "SpectralNorm" in hooks or any(name.endswith("_orig") for name in own):
        undo = "remove_spectral_norm(module)" if "SpectralNorm" in hooks else "prune.remove(module, name)"
        raise ModelError(
            f"{path} computes its weight at each call; only plain tensors can be cut. Make it plain "
            f"first: torch.nn.utils.{undo}."
        )


def _quantised(where: str, what: str) -> str:
    return (
        f"{where} is quantised ({what}): units cannot be cut out of it. Prune the float model, and quantise "
        "the small one afterwards."
    )


@dataclass(frozen=True)
class Obstacle:
    """Why a saved model could not be loaded again."""

    words: str
    """The reason and the remedy, in one line."""
    factory: bool
    """Whether no config can describe the model, so that only a function of the user's own makes it."""


def obstacle_to_loading(model: nn.Module) -> Obstacle | None:
    """Return the first obstacle to loading the model again once it is saved, or None.

    The class of the model is built from its config on the meta device. Names, shapes and activations are
    compared.
    """
    if not isinstance(model, PreTrainedModel):
        return None
    return next(_obstacles(model), None)


def _obstacles(model: PreTrainedModel) -> Iterator[Obstacle]:
    name = type(model).__name__
    model_type = str(model.config.model_type)
    family = FAMILIES.get(model_type.removeprefix(PRUNED_PREFIX))
    if family is None or family.classes is None:
        yield Obstacle(f"{name}: {model_type!r} is no family that prune_ssl can load; {FACTORY}.", True)
        return
    if classes_of(model.config).get(name) is not type(model):
        yield Obstacle(f"{name} is a class of its own, which no config can name; {FACTORY}.", True)
        return
    try:
        rebuilt = build_on_meta(type(model), model.config)
    except ModelError as error:
        yield Obstacle(str(error), False)
        return
    found, wanted = shapes_of(model), shapes_of(rebuilt)
    odd = differences(found, wanted)
    if odd:
        more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
        field = _field(odd[0], found, wanted)
        way = field or f"For a module of one's own, {FACTORY}."
        yield Obstacle(
            f"{name} cannot be rebuilt from its config: {_place(odd[0], model, rebuilt)}{more}. {way}",
            not field,
        )
        return
    yield from _other_activations(model, rebuilt)
    yield from _shared(model, rebuilt)


FACTORY = (
    "save_pretrained wants plan= with it (the keep or plan of `resize`, {} for none), and "
    "load_pretrained(folder, factory) then loads it, where factory makes the dense model with this module"
)


def _place(difference: str, model: nn.Module, rebuilt: nn.Module) -> str:
    """Return the module in which two models differ, its two classes, and the tensor that differs."""
    path = difference.split(" ")[0].rstrip(":")
    while path:
        path = path.rpartition(".")[0]
        classes = [_class_at(each, path) for each in (model, rebuilt)]
        if classes[0] != classes[1] and path:
            found, wanted = (f"a {each}" if each else "nothing" for each in classes)
            return f"{path}: found {found}, its config makes {wanted} there ({difference})"
    return difference


def _class_at(model: nn.Module, path: str) -> str:
    try:
        return type(model.get_submodule(path)).__name__
    except AttributeError:
        return ""


def _field(difference: str, found: Shapes, wanted: Shapes) -> str:
    """Return which field of the config to set, as a sentence; "" if none is known."""
    tensor = difference.split(" ")[0].rstrip(":")
    for pattern, axis, field in SIZE_FIELDS:
        if re.fullmatch(pattern, tensor) and tensor in found and tensor in wanted:
            return f"Set model.config.{field} = {found[tensor][axis]}."
    layers = [{int(m[1]) for name in each if (m := LAYER.search(name))} for each in (found, wanted)]
    if LAYER.search(tensor) and len(layers[0]) != len(layers[1]):
        return f"Set model.config.num_hidden_layers = {len(layers[0])}."
    return ""


def _other_activations(model: nn.Module, rebuilt: nn.Module) -> Iterator[Obstacle]:
    known = {each[0] if isinstance(each, tuple) else each for each in ACT2CLS.values()}
    there = dict(rebuilt.named_modules())
    for path, module in model.named_modules():
        other = there.get(path)
        if other is not None and type(module) is not type(other) and {type(module), type(other)} <= known:
            yield Obstacle(
                f"{path} is a {type(module).__name__}, its config makes a {type(other).__name__}: the "
                "loaded model would compute something else. Set the field of model.config that says it "
                f"(hidden_act, feat_extract_activation); or {FACTORY}.",
                True,
            )


def _shared(model: nn.Module, rebuilt: nn.Module) -> Iterator[Obstacle]:
    ties = [_ties(each) for each in (model, rebuilt)]
    for pair in sorted(ties[0] - ties[1]):
        one, other = pair
        yield Obstacle(
            f"{one} and {other} are one tensor, and would be two after loading. Part them first: "
            f"give {other} a parameter of its own (nn.Parameter(weight.detach().clone())).",
            False,
        )


def _ties(model: nn.Module) -> set[tuple[str, str]]:
    first: dict[int, str] = {}
    pairs = set()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in first:
            pairs.add((first[id(parameter)], name))
        first.setdefault(id(parameter), name)
    return pairs
