"""The schema of a YAML recipe, and its overrides."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from prune_ssl.distillation.students import STUDENTS, StudentConfig
from prune_ssl.errors import BudgetError, RecipeError
from prune_ssl.models import FAMILIES
from prune_ssl.recipes.model_config import check_config
from prune_ssl.recipes.parts import AboutPart, AugmentPart, DecodingPart, OptimizerPart, Part, StreamPart
from prune_ssl.recipes.reading import apply_override, explain
from prune_ssl.recipes.shipped import recipe_file
from prune_ssl.recipes.yaml_text import Found, Place, read_file
from prune_ssl.selection import CRITERIA, check_kinds, parse_budget

Scheduler = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
]
"""Of transformers' SchedulerType those that need no settings beside the steps, and no evaluation."""


BARE_PERCENT = re.compile(r"\s*[0-9.]+\s*%\s*")

MOST, MOST_STEPS = 1_000_000, 1_000_000_000
Steps = Annotated[int, Field(gt=0, le=MOST_STEPS)]
Seconds = Annotated[float, Field(ge=0.025, le=3_600)]
"""Of audio: at least what a frontend needs for one frame."""
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


class ModelPart(Part):
    """Which model to prune: a folder or hub name, or an architecture with random weights."""

    name: str | None = None
    """Folder or hub name."""
    family: str = "hubert"
    """Architecture to make when there is no name, and to assume for a named model in `--architecture`."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Fields of the transformers config of that architecture; the default is the Base model. Of a named model
    those that change its training only (dropouts, LayerDrop, SpecAugment) take the place of its own."""
    tokenizer: str | None = None
    """CTC, phonemes: folder or hub name of a tokenizer, in place of the model's own or what train is spelled
    with."""
    filterbank: bool = False
    """Do not train the first convolution. Random weights: it is mel-spaced band-pass filters, and the other
    layers of the frontend are scaled by what a few clips give."""
    pass_on: bool = False
    """Random weights: the other convolutions start as means over time of their channels."""
    allow_pruned: bool = False
    """Prune a model that prune_ssl pruned already; the budget then refers to it."""
    head: Literal["keep", "drop"] = "keep"
    """`drop` leaves the head of a named model out; the task's starts anew."""
    allow_pickle: bool = False
    """Read the weights of a named model from pytorch_model.bin where it has no safetensors."""
    dtype: Literal["stored", "float32", "float16", "bfloat16"] = "stored"
    """Of the weights that are written; `stored`: as the named model has them. Training is in float32."""

    @model_serializer(mode="wrap")
    def _without_unsaid_family(self, handler: Any) -> dict[str, Any]:
        """Leave out a family that nobody gave beside a name: read again, it would contradict the model."""
        fields: dict[str, Any] = handler(self)
        if self.name is not None and "family" not in self.model_fields_set:
            fields.pop("family", None)
        return fields

    @field_validator("family")
    @classmethod
    def _is_known(cls, family: str) -> str:
        known = [name for name, each in FAMILIES.items() if each.classes and each.input.is_waveform]
        if family not in known:
            raise ValueError(f"found {family!r}, wanted one of {', '.join(known)}")
        return family

    @field_validator("config")
    @classmethod
    def _makes_a_model(cls, config: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "family" in info.data:  # else that is refused already
            check_config(info.data["family"], config, from_scratch=info.data.get("name") is None)
        return config


class CorruptionPart(Part):
    """Noise and reverberation on training clips; the fields of Corruption, and what the teacher hears.

    A dense model that is to teach with clean audio is trained on clean clips.
    """

    noise: str | None = None
    """Folder of noise recordings; None: white noise."""
    rirs: str | None = None
    """Folder of room impulse responses; None: simulated rooms."""
    snr_db: tuple[float, float] = (0.0, 20.0)
    cases: tuple[Literal["noise", "reverb", "both", "clean"], ...] = ("noise", "reverb", "both", "clean")
    white_probability: float = Field(default=0.3, ge=0, le=1)
    rt60_seconds: tuple[float, float] = (0.2, 0.8)
    curriculum: float = Field(default=0.0, ge=0, le=1)
    """Part of each training, but recovery, over which it gets hard; 0: all at once."""
    clean_teacher: bool = True
    """Whether a teacher hears the clean clip (RobustDistiller); false: what the student hears."""


class DataPart(Part):
    """Where the audio is: a folder with SPLIT/metadata.csv."""

    path: str
    target: str | None = None
    """Column to predict: intent, speaker, ...; scenario+action is one label, size|milk are two slots.

    Task representation needs none."""
    loss_weights: tuple[float, ...] = ()
    """Joint tasks: one for each column of the target; empty: 1 each."""
    stream: StreamPart | None = None
    """For corpora that are too large to download or check first; leave out for folders of audio."""
    augment: AugmentPart | None = AugmentPart()
    """Speed, shift, gain, noise and rooms on training clips; true: the usual ones, false: none. With
    `corruption`, it alone brings noise and rooms."""
    corruption: CorruptionPart | None = None
    max_seconds: float = Field(default=15.0, gt=0)
    """Longer clips are cut; with transcripts or phonemes those of train are left out, others stay whole."""
    crop_seconds: float | None = Field(default=None, gt=0)
    """Longer training clips give a random piece of this length each time."""
    judged: Literal["test", "validation"] | None = None
    """Split to judge on; None: test where there is one. Choose settings on validation."""
    group_by_length: bool = False
    """Train on batches of clips of about the same length: less padding."""
    batch_seconds: float | None = Field(default=None, gt=0)
    """Train on batches of so much audio, padding counted, in the place of `batch_size`: many short clips, or
    few long ones. Lengths are those before augmentation."""
    trials: str | None = None
    """Verification: trial list, relative to path."""
    outside: bool = False
    """Whether a `file_name` in a metadata.csv or .jsonl may lead out of `path`."""
    margin: float | None = Field(default=None, ge=0, lt=1)
    """Verification: of AM-softmax; None: the model's own, 0.4. Dense training comes to it step by step."""

    @field_validator("augment", mode="before")
    @classmethod
    def _in_a_word(cls, augment: Any) -> Any:
        return {True: {}, False: None}[augment] if isinstance(augment, bool) else augment

    @field_validator("path")
    @classmethod
    def _is_given(cls, path: str) -> str:
        if not path.strip():
            raise ValueError("found an empty text, wanted the folder of the corpus")
        return path

    @model_validator(mode="after")
    def _can_be_streamed(self) -> "DataPart":
        refused = {
            "group_by_length (no length is known before its clip is read): leave it out; `max_seconds` and "
            "`crop_seconds` bound the padding": self.group_by_length,
            "batch_seconds (no length is known before): give `batch_size`": self.batch_seconds is not None,
            "corruption: take noise and rooms from `augment`, or a folder": self.corruption is not None,
            "judged: name the split by `stream.judged`": self.judged is not None,
        }
        if self.group_by_length and self.batch_seconds is not None:
            raise ValueError(
                "batches by `batch_seconds` are of clips of like length: leave group_by_length out"
            )
        for words, found in refused.items():
            if self.stream is not None and found:
                raise ValueError(
                    f"a streamed corpus goes without {words}; or download it and leave `stream` out"
                )
        return self

    @model_validator(mode="after")
    def _is_one_noise(self) -> "DataPart":
        augment = self.augment
        if self.corruption and augment and (augment.noise or augment.rirs or augment.reverb_probability):
            raise ValueError(
                "`augment` and `corruption` both name noise or rooms: keep those of `corruption`, which a "
                "teacher need not hear"
            )
        return self


class TrainPart(Part):
    """One training phase."""

    steps: Steps
    learning_rate: float = Field(gt=0)
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    scheduler: Scheduler = "linear"
    freeze: Literal["backbone", "frontend"] | None = None
    """What does not learn in this phase: `backbone` is all but the head, `frontend` the convolutions."""


class PruningPart(Part):
    """Gate training and recovery; the fields of PruningConfig that a recipe sets."""

    budget: str
    budgets: tuple[str, ...] = ()
    """A progressive run: one model for each of these, `80%` or `macs=80%`, from the largest to the smallest;
    `budget` is then the last of them."""
    method: Literal["gates", "iterative", "one_shot"] = "gates"
    criterion: str = "magnitude"
    """For the methods without gates."""
    normalise: Literal["cost", "none"] = "cost"
    isomorphic: bool = False
    rounds: int = Field(default=5, ge=1, le=1_000)
    """Cuts of the iterative method."""
    schedule: Literal["linear", "cubic", "sigmoid"] = "linear"
    steps: Steps
    learning_rate: float = Field(gt=0)
    recovery: float = Field(default=1.0, ge=0, le=1_000)
    recovery_learning_rate: float | None = Field(default=None, gt=0)
    kinds: tuple[str, ...] = ("conv", "heads", "ffn")
    round_to: int = Field(default=8, ge=1, le=MOST)
    seconds: Seconds = 10.0
    warmup: float | None = Field(default=None, ge=0, le=1)
    gate_learning_rate: float | None = Field(default=None, gt=0)
    initial_keep: float | None = Field(default=None, gt=0.5, lt=1)
    layout: Literal["hetero", "stock"] = "hetero"
    """`stock`: the model loads without prune_ssl; only conv channels, one FFN width and layers may go."""

    @model_validator(mode="before")
    @classmethod
    def _last_of_budgets(cls, data: Any) -> Any:
        """Let `budgets` stand alone, and short ones like `80%` name MACs."""
        if not isinstance(data, dict) or data.get("budgets") in (None, [], ()):
            return data
        given = data["budgets"]
        if not isinstance(given, (list, tuple)):
            raise ValueError(f"budgets: found {given!r:.60}, wanted a list such as [80%, 60%]")
        texts = [_of_macs(text) for text in given]
        if data.get("budget", texts[-1]) != texts[-1]:
            raise ValueError(
                f"budget is {data['budget']}, but the last of budgets is {texts[-1]}; leave it out"
            )
        return data | {"budgets": tuple(texts), "budget": texts[-1]}

    @field_validator("budget", "budgets", mode="before")
    @classmethod
    def _can_be_read(cls, given: Any) -> Any:
        try:
            for text in given if isinstance(given, (list, tuple)) else [given]:
                parse_budget(text)
        except BudgetError as error:
            raise ValueError(str(error).removeprefix("budget: ").removesuffix(".")) from error
        return given

    @field_validator("kinds")
    @classmethod
    def _are_known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        try:
            check_kinds(kinds)
        except BudgetError as error:
            raise ValueError(str(error).removeprefix("kinds: ")) from error
        return kinds

    @field_validator("criterion")
    @classmethod
    def _is_known(cls, criterion: str) -> str:
        if criterion not in CRITERIA:
            raise ValueError(f"found {criterion!r:.60}, wanted one of {', '.join(CRITERIA)}")
        return criterion


def _of_macs(text: Any) -> Any:
    """Return a budget of a list, in which `80%` is of the MACs."""
    return f"macs={text}" if isinstance(text, str) and BARE_PERCENT.fullmatch(text) else text


class DistillationPart(Part):
    """What is learned from a teacher beside the task; the fields of DistillationConfig, and which teacher."""

    teacher: str | None = None
    """Folder or hub name; None: the dense model."""
    losses: dict[str, float]
    task_weight: float = 1.0
    layers: tuple[int | tuple[int, int], ...] | None = None
    layer_weights: tuple[float, ...] | None = None
    relation_layers: tuple[int | tuple[int, int], ...] | None = None
    projection: Literal["auto", "none", "shared", "per_layer", "heads"] = "auto"
    temperature: float = 2.0
    logit_groups: tuple[int, ...] | None = None
    gram_scale: Literal["raw", "sqrt", "mean"] = "sqrt"
    mask_probability: float = 0.8
    mask_length: int = 10
    enhancement: Literal["magnitude", "multi_resolution", "si_sdr"] = "magnitude"
    enhancement_input: Literal["last", "frontend"] = "last"
    enhancement_units: int = 256
    learning_rate: float | None = None
    teacher_cache: str | None = None
    """Folder (or `memory`) for the teacher's answers; needs clips that are the same each time."""
    teacher_cache_gb: float = Field(default=10.0, gt=0)


class StudentPart(TrainPart):
    """A small student that learns from the teacher in place of pruning; the fields of StudentConfig."""

    name: str | None = None
    """One of the papers' students; what else is given here takes the place of its own."""
    layers: int | tuple[int, ...] | None = None
    hidden_size: int | None = None
    intermediate_size: int | None = None
    num_attention_heads: int | None = None
    thin_frontend: bool | None = None
    projection_norm: bool | None = None
    mask_embedding: bool | None = None
    reuse: Literal["even"] | tuple[int, ...] | None = None
    init: Literal["teacher", "random"] | None = None
    seconds: Seconds = 10.0
    """Audio length for MACs."""

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str | None) -> str | None:
        if name is not None and name not in STUDENTS:
            raise ValueError(f"found {name!r}, wanted one of {', '.join(STUDENTS)}")
        return name

    @property
    def shape(self) -> StudentConfig:
        """The shape that is asked for."""
        fields = {field.name for field in dataclasses.fields(StudentConfig)}
        given = {key: value for key, value in self.model_dump(include=fields).items() if value is not None}
        return dataclasses.replace(STUDENTS[self.name] if self.name else StudentConfig(), **given)

    @property
    def shown(self) -> str:
        """The shape in a few words."""
        given = self.model_dump(exclude={"name", "seconds", *TrainPart.model_fields}, exclude_none=True)
        return ", ".join(([self.name] if self.name else []) + [f"{key}={given[key]}" for key in given])


class ReportPart(Part):
    """What the report measures."""

    seconds: tuple[Seconds, ...] = Field(default=(1.0, 5.0, 10.0), min_length=1)
    threads: tuple[Annotated[int, Field(ge=1, le=1_024)], ...] = Field(default=(1,), min_length=1)
    iterations: int = Field(default=50, ge=3, le=MOST)
    min_seconds: float = Field(default=3.0, ge=0, le=3_600)


class Recipe(Part):
    """A complete run: model, task, data, dense fine-tuning, pruning, report."""

    name: str
    about: AboutPart = AboutPart()
    task: Literal[
        "classification", "ctc", "joint", "phonemes", "representation", "slots", "speaker_verification"
    ] = "classification"
    model: ModelPart = ModelPart()
    data: DataPart
    dense: TrainPart | None = None
    """Dense fine-tuning before pruning; leave out (`dense: null`) for a model that is trained already."""
    pruning: PruningPart | None = None
    """How the model gets small: by pruning, or by being the teacher of a `student`."""
    student: StudentPart | None = None
    distillation: DistillationPart | None = None
    """What pruning and recovery, or the student, learn from a teacher; leave out for none."""
    decoding: DecodingPart | None = None
    """Beside greedy decoding; leave out for that alone."""
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
        assert part is not None
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


def _drop_replaced(data: dict[str, Any], overrides: Sequence[str]) -> None:
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


def make_recipe(data: dict[str, Any], where: str = "recipe") -> Recipe:
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
