"""The schema of a YAML recipe, and its overrides."""

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
"""Of a recipe: folders and files are named after it."""

OF_TASKS: dict[str, tuple[str, ...]] = {
    "decoding": ("ctc",),
    "model.tokenizer": ("ctc", "phonemes"),
    "data.loss_weights": ("joint",),
    "data.margin": ("speaker_verification",),
    "data.trials": ("speaker_verification", "joint"),
}
"""Key of a recipe -> the tasks that take it; in a recipe of another one it would do nothing."""


class Recipe(Part):
    """A complete run: model, task, data, dense fine-tuning, pruning, report."""

    name: str
    about: AboutPart = AboutPart()
    task: str = "classification"
    """One of `TASKS`, or of one's own (`register_task`)."""
    model: ModelPart = ModelPart()
    data: DataPart
    dense: Annotated[TrainPart, PLACED] | None = None
    """Dense fine-tuning before pruning; leave out (`dense: null`) for a model that is trained already."""
    pruning: Annotated[PruningPart, PLACED, BeforeValidator(last_of_budgets)] | None = None
    """How the model gets small: by pruning, or by being the teacher of a `student`."""
    student: Annotated[StudentPart, PLACED, BeforeValidator(shape_of_the_named)] | None = None
    distillation: Annotated[DistillationPart, PLACED] | None = None
    """What pruning and recovery, or the student, learn from a teacher; leave out for none."""
    decoding: Annotated[BeamSettings, PLACED] | None = None
    """Task ctc: judge beam search with an n-gram model too (extra `lm`); leave out for greedy decoding."""
    report: ReportPart = ReportPart()
    batch_size: int = Field(default=32, gt=0, le=MOST)
    eval_batch_size: int = Field(default=32, gt=0, le=MOST)
    weight_decay: float = Field(default=0.01, ge=0)
    optimizer: OptimizerPart = OptimizerPart()
    smoke: bool = False
    """Run all stages on a tiny model of the same family and the shipped words, in seconds and offline."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    output: str = "runs/{name}"
    """Folder for everything that the run makes; {name} and {seed} are filled in."""
    bf16: bool = False
    gradient_checkpointing: bool = False
    gradient_accumulation: int = Field(default=1, gt=0, le=MOST)
    checkpoint_steps: int | None = Field(default=None, gt=0, le=MOST_STEPS)
    """Save a checkpoint every so many steps, from which `prune-ssl run --resume` goes on."""

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
    def _only_what_is_said(
        self, student: StudentPart | None, handler: SerializerFunctionWrapHandler
    ) -> dict[str, object] | None:
        """Write null for what a named student has anyway: read again with another name, it is of that one."""
        data: dict[str, object] | None = handler(student)
        if data is not None and student is not None and student.name is not None:
            data |= {key: None for key in shape_fields() if key not in student.changed}
        return data

    @model_validator(mode="after")
    def _is_one_way_to_get_small(self) -> "Recipe":
        if (self.pruning is None) == (self.student is None):
            raise ValueError("wanted either `pruning` or `student`, found both or none")
        if self.distillation is None and (self.student is not None or self.task == "representation"):
            raise ValueError(
                "a student, and any model without labels, learns by `distillation`: give its losses"
            )
        if self.dense is not None and self.task == "representation":
            raise ValueError("task representation has no labels to train a dense model on: leave `dense` out")
        if self.task == "representation" and self.student and self.student.freeze == "backbone":
            raise ValueError("a student of task representation is all backbone: leave `student.freeze` out")
        return self

    @model_validator(mode="after")
    def _says_nothing_for_other_tasks(self) -> "Recipe":
        given = {
            "decoding": self.decoding is not None,
            "model.tokenizer": self.model.tokenizer is not None,
            "data.loss_weights": bool(self.data.loss_weights),
            "data.margin": self.data.margin is not None,
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
        """The audio length at which MACs are budgeted and reported."""
        part = self.pruning or self.student
        if part is None:
            raise RecipeError(f"{self.name}: it has neither `pruning` nor `student`.")
        return part.seconds

    @property
    def folder(self) -> Path:
        """The output folder."""
        return Path(self.output.format(name=self.name, seed=self.seed))


def pruning_part(recipe: Recipe) -> PruningPart:
    """Return how a recipe prunes.

    Raises:
        RecipeError: it distils a student instead.
    """
    if recipe.pruning is None:
        raise RecipeError(f"{recipe.name}: it distils a student; there is no `pruning` in it.")
    return recipe.pruning


def load_recipe(path: str | Path, overrides: Sequence[str] | None = None) -> Recipe:
    """Read a YAML recipe and apply `key.sub=value` overrides.

    Args:
        path: a file, or the name of a recipe that comes with the package, without `.yaml`.
        overrides: in the order in which they are applied.

    Raises:
        RecipeError: the file is missing or malformed, a key is unknown (the message names the nearest right
            one), or a value is out of range.
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
    """Drop what an override replaces beside its own key.

    `pruning.budgets` replaces the file's `budget` too, and the other way round. `model.name` replaces its
    `family`: another model may be of another one.
    """
    given = {override.partition("=")[0].strip() for override in overrides}
    pairs = (("pruning", "budgets", "budget"), ("pruning", "budget", "budgets"), ("model", "name", "family"))
    for section, key, other in pairs:
        part = data.get(section)
        if isinstance(part, dict) and f"{section}.{key}" in given and f"{section}.{other}" not in given:
            part.pop(other, None)


def make_recipe(data: dict[str, object], where: str = "recipe") -> Recipe:
    """Check plain data against the schema.

    Raises:
        RecipeError: an unknown key or a value out of range.
    """
    return _checked(data, where, Found(data), {})


def _checked(data: object, where: str, found: Found, given: dict[Place, str]) -> Recipe:
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(f"{where}: {explain(error, Recipe, found, given)}") from error
