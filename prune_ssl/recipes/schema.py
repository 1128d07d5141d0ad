"""The schema of a YAML recipe, and the reading of recipes with overrides."""

import re
from collections.abc import Sequence
from pathlib import Path
from string import Formatter
from typing import Annotated

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from prune_ssl.errors import RecipeError
from prune_ssl.profiling import Timing
from prune_ssl.recipes.parts import PLACED, Part
from prune_ssl.recipes.reading import apply_override, explain
from prune_ssl.recipes.sections import (
    MOST,
    MOST_STEPS,
    AboutPart,
    DataPart,
    DistillationPart,
    ModelPart,
    OptimizerPart,
    PruningPart,
    ReportPart,
    StudentPart,
    TrainPart,
    last_of_budgets,
    shape_fields,
    shape_of_the_named,
)
from prune_ssl.recipes.shipped import recipe_file
from prune_ssl.recipes.yaml_text import Found, Place, read_file
from prune_ssl.tasks import TASKS, BeamSettings

LONGEST_NAME_BYTES = 200
"""The longest name of a recipe, after which folders and files are named."""

OF_TASKS: dict[str, tuple[str, ...]] = {
    "decoding": ("ctc",),
    "model.tokenizer": ("ctc", "phonemes"),
    "data.loss_weights": ("joint",),
    "data.margin": ("speaker_verification", "joint"),
    "data.also": ("joint",),
    "data.fills": ("joint",),
    "data.trials": ("speaker_verification", "joint"),
}
"""The tasks that use each key of a recipe. In a recipe of another task the key would have no effect."""


class Recipe(Part):
    """A complete run: model, task, data, dense fine-tuning, pruning or a student, and report."""

    name: str
    """The name of the recipe, after which its output folder is named."""
    about: AboutPart = AboutPart()
    """Facts for readers of the recipe."""
    task: str = "classification"
    """A task of `TASKS`, or one that `register_task` has added."""
    model: ModelPart = ModelPart()
    """The model to prune."""
    data: DataPart
    """The corpus."""
    dense: Annotated[TrainPart, PLACED] | None = None
    """Dense fine-tuning before pruning. Leave it out (`dense: null`) for a model that is already trained. A
    recipe with `dense` and neither `pruning` nor `student` only fine-tunes the model."""
    pruning: Annotated[PruningPart, PLACED, BeforeValidator(last_of_budgets)] | None = None
    """Pruning and recovery. A recipe has `pruning`, a `student`, or neither of them."""
    student: Annotated[StudentPart, PLACED, BeforeValidator(shape_of_the_named)] | None = None
    """A small student that learns from the model instead of being cut out of it."""
    control: bool = False
    """Whether to train the dense model as long as the pruned one, without any cut. The report compares with
    this control as well."""
    distillation: Annotated[DistillationPart, PLACED] | None = None
    """The losses by which pruning and recovery, or the student, learn from a teacher. Optional."""
    decoding: Annotated[BeamSettings, PLACED] | None = None
    """Task ctc: also judge beam search with an n-gram model (extra `lm`). Without it: greedy decoding."""
    report: ReportPart = ReportPart()
    """The measurements of the report."""
    batch_size: int = Field(default=32, gt=0, le=MOST)
    """Clips of a training batch."""
    eval_batch_size: int = Field(default=32, gt=0, le=MOST)
    """Clips of an evaluation batch."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay of AdamW."""
    optimizer: OptimizerPart = OptimizerPart()
    """Other settings of AdamW."""
    smoke: bool = False
    """Run all stages on a tiny model of the same family and the shipped words, in seconds and offline."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """The seed of all random numbers of the run."""
    output: str = "runs/{name}"
    """The folder for all files of the run. {name} and {seed} are filled in."""
    bf16: bool = False
    """Train with bfloat16 autocast."""
    compile: bool = False
    """Train models that torch.compile has compiled: the first steps take minutes, later ones less time."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass, which saves memory and costs time."""
    gradient_accumulation: int = Field(default=1, gt=0, le=MOST)
    """Batches of one optimiser step."""
    checkpoint_steps: int | None = Field(default=None, gt=0, le=MOST_STEPS)
    """Save a checkpoint every so many steps, from which `prune-ssl run --resume` continues."""

    @field_validator("name")
    @classmethod
    def _is_a_plain_name(cls, name: str) -> str:
        odd = re.search(r"[/\\\x00-\x1f\x7f]", name)
        if not name.strip() or odd or name.strip() in (".", "..") or len(name.encode()) > LONGEST_NAME_BYTES:
            raise ValueError(
                f"found {name[:80]!r}, wanted a plain name: not empty, without slashes, of at most "
                f"{LONGEST_NAME_BYTES} bytes. It names the output folder; `output` may be anywhere"
            )
        return name

    @field_validator("task")
    @classmethod
    def _is_known(cls, task: str) -> str:
        if task not in TASKS:
            raise ValueError(f"found {task!r:.60}, wanted one of {', '.join(sorted(TASKS))}")
        return task

    @field_validator("output")
    @classmethod
    def _is_a_pattern(cls, output: str) -> str:
        problem = ValueError(f"found {output!r:.100}; only {{name}} and {{seed}} are filled in")
        try:
            parts = list(Formatter().parse(output))
        except ValueError as error:
            raise problem from error
        if any(field not in (None, "name", "seed") or form or turned for _, field, form, turned in parts):
            raise problem
        if not output.strip():
            raise ValueError("found an empty text, wanted a folder")
        return output

    @field_serializer("student", mode="wrap")
    def _without_fields_of_the_name(
        self, student: StudentPart | None, handler: SerializerFunctionWrapHandler
    ) -> dict[str, object] | None:
        """Write null for fields that equal the named student's, so that another name brings its own."""
        data: dict[str, object] | None = handler(student)
        if data is not None and student is not None and student.name is not None:
            data |= {key: None for key in shape_fields() if key not in student.changed}
        return data

    @model_validator(mode="after")
    def _has_pruning_or_student(self) -> "Recipe":
        if self.pruning is not None and self.student is not None:
            raise ValueError("wanted either `pruning` or `student`, found both")
        if self.pruning is None and self.student is None and self.dense is None:
            raise ValueError(
                "wanted `pruning`, a `student`, or `dense` alone (it only fine-tunes the model), found none"
            )
        if self.distillation is None and (self.student is not None or self.task == "representation"):
            raise ValueError(
                "a student, and any model without labels, learns by `distillation`: give its losses"
            )
        if self.only_fine_tunes and self.distillation is not None:
            raise ValueError(
                "`distillation` serves `pruning` or a `student`, found neither: leave `distillation` out"
            )
        if self.dense is not None and self.task == "representation":
            raise ValueError("task representation has no labels to train a dense model on: leave `dense` out")
        if self.task == "representation" and self.student and self.student.freeze == "backbone":
            raise ValueError("a student of task representation is all backbone: leave `student.freeze` out")
        return self

    @model_validator(mode="after")
    def _has_no_key_of_other_tasks(self) -> "Recipe":
        given = {
            "decoding": self.decoding is not None,
            "model.tokenizer": self.model.tokenizer is not None,
            "data.loss_weights": bool(self.data.loss_weights),
            "data.margin": self.data.margin is not None,
            "data.also": self.data.also is not None,
            "data.fills": self.data.fills is not None,
            "data.trials": self.data.trials is not None,
        }
        for name, tasks in OF_TASKS.items():
            if given[name] and self.task not in tasks:
                raise ValueError(
                    f"`{name}` is for task {' or '.join(tasks)}, found task {self.task}: leave it out"
                )
        return self

    @property
    def reference_seconds(self) -> float:
        """The audio length for the MACs of budget and report."""
        part = self.pruning or self.student
        if part is not None:
            return part.seconds
        return Timing(seconds=self.report.seconds).reference_seconds

    @property
    def only_fine_tunes(self) -> bool:
        """Whether the recipe trains the dense model and neither prunes it nor distils a student."""
        return self.pruning is None and self.student is None

    @property
    def folder(self) -> Path:
        """The output folder."""
        return Path(self.output.format(name=self.name, seed=self.seed))


def pruning_part(recipe: Recipe) -> PruningPart:
    """Return the section `pruning` of a recipe.

    Raises:
        RecipeError: the recipe distils a student, or only fine-tunes a model.

    >>> pruning_part(load_recipe("ks_digits_hj_mac")).method
    'gates'
    """
    if recipe.pruning is None:
        does = "only fine-tunes a model" if recipe.only_fine_tunes else "distils a student"
        raise RecipeError(
            f"{recipe.name}: the recipe {does}, so it has no `pruning`: give "
            "pruning={budget: macs=50%, steps: 1000, learning_rate: 1.0e-4}, or another recipe."
        )
    return recipe.pruning


def load_recipe(path: str | Path, overrides: Sequence[str] | None = None) -> Recipe:
    """Read a YAML recipe and apply `key.sub=value` overrides.

    Args:
        path: A file, or the name of a recipe that comes with the package, without `.yaml`.
        overrides: The overrides, applied in this order.

    Raises:
        RecipeError: the file is missing or malformed, a key is unknown (the message suggests the nearest
            one), or a value is out of range.

    >>> load_recipe("ks_digits_hj_mac", ["data.path=corpus", "seed=1"]).seed
    1
    """
    file = recipe_file(path)
    found = read_file(file)
    if not isinstance(found.data, dict):
        words = "is empty" if found.data is None else f"is a {type(found.data).__name__}"
        raise RecipeError(f"{file} {words}; wanted a recipe: YAML keys such as `name: ...` and `data: ...`.")
    given: dict[Place, str] = {}
    _drop_replaced(found.data, overrides or [])
    for override in overrides or []:
        place = apply_override(found, override, Recipe)
        given = {each: text for each, text in given.items() if each[: len(place)] != place}
        given[place] = override
    return _checked(found.data, str(file), found, given)


def _drop_replaced(data: dict[str, object], overrides: Sequence[str]) -> None:
    """Drop the other keys of the file that an override replaces besides its own.

    `pruning.budgets` also replaces `budget`, and the reverse. `model.name` also replaces `family`, because
    another model may be of another family.
    """
    given = {override.partition("=")[0].strip() for override in overrides}
    pairs = (("pruning", "budgets", "budget"), ("pruning", "budget", "budgets"), ("model", "name", "family"))
    for section, key, other in pairs:
        part = data.get(section)
        if isinstance(part, dict) and f"{section}.{key}" in given and f"{section}.{other}" not in given:
            part.pop(other, None)


def make_recipe(data: dict[str, object], where: str = "recipe") -> Recipe:
    """Make a recipe from plain data, such as the content of a YAML file.

    Args:
        data: The keys and values.
        where: The name of the data in error messages.

    Raises:
        RecipeError: a key is unknown, or a value is out of range.

    >>> pruning = {"budget": "macs=50%", "steps": 100, "learning_rate": 1e-4}
    >>> make_recipe({"name": "small", "data": {"path": "corpus"}, "pruning": pruning}).task
    'classification'
    """
    return _checked(data, where, Found(data), {})


def _checked(data: object, where: str, found: Found, given: dict[Place, str]) -> Recipe:
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(f"{where}: {explain(error, Recipe, found, given)}") from error
