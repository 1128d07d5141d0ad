"""Train a caller's model as a run trains its own, and say which parameters a phase leaves as they are."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import nn
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from prune_ssl.errors import DistillationError, ModelError
from prune_ssl.models import backbone_of
from prune_ssl.models.filterbank import first_convolution
from prune_ssl.pipeline.named_models import TRAINING_ONLY
from prune_ssl.pipeline.preparation import Ready, copy_of
from prune_ssl.recipes import Recipe

ATTRIBUTES = re.compile(r"\w*dropout\w*|margin")
"""Numbers of modules that change only how they are trained."""
SHOWN = 4
"""The most fixed parts that a line names."""


def train_alike_(model: nn.Module, like: PreTrainedModel) -> None:
    """Give a model the training settings of another one of the same architecture, in place.

    These are: which parameters are trained, the dtype of training, all dropouts, LayerDrop, SpecAugment, and
    the margin of a speaker loss. A parameter that the other model lacks is trained.

    Args:
        model: The model to change. Its widths may differ.
        like: The model with the wanted settings.
    """
    model.to(like.dtype)
    trained = {name: parameter.requires_grad for name, parameter in like.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained.get(name, True))
    config = getattr(model, "config", None)
    if isinstance(config, PreTrainedConfig):
        fields = {key: value for key, value in vars(like.config).items() if TRAINING_ONLY.fullmatch(key)}
        config.update({key: value for key, value in fields.items() if hasattr(config, key)})
    others = dict(like.named_modules())
    for path, module in model.named_modules():
        if path in others:
            _take_numbers_(module, others[path])


def _take_numbers_(module: nn.Module, like: nn.Module) -> None:
    """Give one module the dropouts and the margin of another, in place."""
    for name, value in vars(like).items():
        is_rate = ATTRIBUTES.fullmatch(name) or (name == "p" and isinstance(like, nn.Dropout))
        if (
            is_rate
            and isinstance(value, (int, float))
            and isinstance(getattr(module, name, None), (int, float))
        ):
            setattr(module, name, value)


def teacher_of_other(recipe: Recipe, ready: Ready, model: nn.Module) -> PreTrainedModel | None:
    """Return the teacher with which `run` would distil into a model of the caller's.

    Args:
        recipe: The recipe.
        ready: The prepared recipe.
        model: The model to train.

    Returns:
        The teacher that the recipe names, or its dense model if `model` is another one. None: there is no
        distillation, or `model` itself has the shapes of the dense model, so that a copy of it teaches.

    Raises:
        DistillationError: the model was cut, and its teacher would be the dense model that the recipe trains.
    """
    if ready.teacher is not None or ready.losses is None or _shapes(model) == _shapes(ready.model):
        return ready.teacher
    if recipe.dense is not None:
        raise DistillationError(
            f"{recipe.name}: trainer_for: the model was cut, and the recipe trains the dense model that "
            "would teach it: give model.name=FOLDER (the dense model) and dense=null, or "
            "distillation.teacher."
        )
    return copy_of(ready.model)


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


class SayFixed(TrainerCallback):
    """Prints one line at the start of each phase in which parameters of the model are not trained.

    Args:
        say: Called with the line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: object,
    ) -> None:
        """Print the line of this phase. Its name is that of the folder of its checkpoints."""
        parts = [] if model is None else fixed_parts(model)
        if parts:
            more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
            phase = Path(args.output_dir or "").name
            self.say(f"  {phase}: not trained, stays as it is: {', '.join(parts[:SHOWN])}{more}")


def fixed_parts(model: nn.Module) -> list[str]:
    """Return the parts of a model that are not trained: the largest modules without a trained parameter.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> fixed_parts(model), fixed_parts(model[0].requires_grad_(False)), fixed_parts(model)
    ([], ['the whole model'], ['0'])
    """
    names = _names_of_parts(model)
    return [names.get(path, path) for path in _fixed_paths(model)]


def _fixed_paths(module: nn.Module, path: str = "") -> Iterator[str]:
    parameters = list(module.parameters())
    if not parameters:
        return
    if not any(parameter.requires_grad for parameter in parameters):
        yield path
        return
    yield from (
        f"{path}.{name}".lstrip(".")
        for name, each in module.named_parameters(recurse=False)
        if not each.requires_grad
    )
    for name, child in module.named_children():
        yield from _fixed_paths(child, f"{path}.{name}".lstrip("."))


def _names_of_parts(model: nn.Module) -> dict[str, str]:
    """Return the words of this project for paths of modules."""
    try:
        prefix, _ = backbone_of(model)
        first = first_convolution(model)  # type: ignore[arg-type]  # refuses other modules
    except (ModelError, AttributeError):
        return {"": "the whole model"}
    paths = {module: path for path, module in model.named_modules()}
    frontend = f"{prefix}.feature_extractor".lstrip(".")
    return {
        frontend: "frontend",
        prefix: "backbone",
        paths[first].rpartition(".")[0]: "first convolution",  # with its norm, if it has one
        paths[first]: "first convolution",
        f"{paths[first]}.weight": "first convolution",
        "": "the whole model",
    }
