"""The schema of a YAML recipe, and its overrides."""

import dataclasses
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_serializer, model_validator

from prune_ssl.distillation.students import STUDENTS, StudentConfig
from prune_ssl.errors import RecipeError
from prune_ssl.models import FAMILIES
from prune_ssl.recipes.parts import AboutPart, AugmentPart, DecodingPart, OptimizerPart, Part, StreamPart

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
        known = [name for name, each in FAMILIES.items() if each.stem and not each.filterbank]
        if family not in known:
            raise ValueError(f"found {family!r}, wanted one of {', '.join(known)}")
        return family


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
    margin: float | None = Field(default=None, ge=0, lt=1)
    """Verification: of AM-softmax; None: the model's own, 0.4. Dense training comes to it step by step."""

    @field_validator("augment", mode="before")
    @classmethod
    def _in_a_word(cls, augment: Any) -> Any:
        return {True: {}, False: None}[augment] if isinstance(augment, bool) else augment

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

    steps: int = Field(gt=0)
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
    rounds: int = Field(default=5, ge=1)
    """Cuts of the iterative method."""
    schedule: Literal["linear", "cubic", "sigmoid"] = "linear"
    steps: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    recovery: float = Field(default=1.0, ge=0)
    recovery_learning_rate: float | None = None
    kinds: tuple[str, ...] = ("conv", "heads", "ffn")
    round_to: int = Field(default=8, ge=1)
    seconds: float = Field(default=10.0, gt=0)
    warmup: float | None = Field(default=None, ge=0, le=1)
    gate_learning_rate: float | None = None
    initial_keep: float | None = None
    layout: Literal["hetero", "stock"] = "hetero"
    """`stock`: the model loads without prune_ssl; only conv channels, one FFN width and layers may go."""

    @model_validator(mode="before")
    @classmethod
    def _last_of_budgets(cls, data: Any) -> Any:
        """Let `budgets` stand alone, and short ones like `80%` name MACs."""
        if not isinstance(data, dict) or not data.get("budgets"):
            return data
        texts = [text if "=" in str(text) else f"macs={text}" for text in data["budgets"]]
        if data.get("budget", texts[-1]) != texts[-1]:
            raise ValueError(
                f"budget is {data['budget']}, but the last of budgets is {texts[-1]}; leave it out"
            )
        return data | {"budgets": tuple(texts), "budget": texts[-1]}


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
    seconds: float = Field(default=10.0, gt=0)
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

    seconds: tuple[float, ...] = (1.0, 5.0, 10.0)
    threads: tuple[int, ...] = (1,)
    iterations: int = Field(default=50, ge=3)
    min_seconds: float = Field(default=3.0, ge=0)


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
    batch_size: int = Field(default=32, gt=0)
    eval_batch_size: int = Field(default=32, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    optimizer: OptimizerPart = OptimizerPart()
    smoke: bool = False
    """Run all stages on a tiny model of the same family and the shipped words, in seconds and offline."""
    seed: int = 0
    output: str = "runs/{name}"
    """Folder for everything that the run makes; {name} and {seed} are filled in."""
    bf16: bool = False
    gradient_checkpointing: bool = False
    gradient_accumulation: int = Field(default=1, gt=0)
    checkpoint_steps: int | None = Field(default=None, gt=0)
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
        try:
            output.format(name="", seed=0)
        except (LookupError, ValueError, AttributeError) as error:
            raise ValueError(f"found {output!r}; only {{name}} and {{seed}} are filled in") from error
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


def load_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read a YAML recipe and apply `key.sub=value` overrides.

    Raises:
        RecipeError: the file is missing or malformed, a key is unknown (the message names the nearest right
            one), or a value is out of range.
    """
    try:
        data = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: wanted a mapping of keys, found {type(data).__name__}.")
    _drop_other_budget(data, overrides or [])
    for override in overrides or []:
        _apply(data, override)
    return make_recipe(data, str(path))


def _drop_other_budget(data: dict[str, Any], overrides: Sequence[str]) -> None:
    """Let an override of `pruning.budgets` replace the file's `budget` too, and the other way round."""
    given, part = {override.partition("=")[0] for override in overrides}, data.get("pruning")
    pair = {"budget": "pruning.budget", "budgets": "pruning.budgets"}
    if isinstance(part, dict) and len(given.intersection(pair.values())) == 1:
        for name, key in pair.items():
            if key not in given:
                part.pop(name, None)


def make_recipe(data: dict[str, Any], where: str = "recipe") -> Recipe:
    """Check plain data against the schema.

    Raises:
        RecipeError: an unknown key or a value out of range.
    """
    try:
        return Recipe(**data)
    except ValidationError as error:
        raise RecipeError(f"{where}: " + "; ".join(_explain(each) for each in error.errors())) from error


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"cannot read the override {override!r}; wanted key.sub=value.")
    *path, leaf = key.split(".")
    for name in path:
        if data.get(name) is None:
            data[name] = {}
        data = data[name]
        if not isinstance(data, dict):
            raise RecipeError(f"override {override!r}: {name} is a value, not a section.")
    try:
        data[leaf] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())
        raise RecipeError(
            f"override {override!r}: not valid YAML ({words}); put quotes around the value: {key}='\"...\"'."
        ) from error


def _explain(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        without = place in ("dense", "dense.steps")
        hint = "; to prune a model that is trained already, leave dense out: dense=null" if without else ""
        return f"{place}: {error['msg']}{hint}"
    known = _fields_at(error["loc"][:-1])
    near = get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"wanted one of {', '.join(known)}."
    return f"unknown key {place!r}; {hint}"


def _fields_at(path: tuple[str | int, ...]) -> list[str]:
    inner: dict[str, type[Part]] = {
        "augment": AugmentPart,
        "corruption": CorruptionPart,
        "stream": StreamPart,
    }
    parts: dict[str, type[Part]] = {
        "about": AboutPart,
        "model": ModelPart,
        "data": inner.get(str(path[-1]), DataPart) if path else DataPart,
        "dense": TrainPart,
        "pruning": PruningPart,
        "student": StudentPart,
        "optimizer": OptimizerPart,
        "distillation": DistillationPart,
        "decoding": DecodingPart,
        "report": ReportPart,
    }
    model = parts.get(str(path[0]), Recipe) if path else Recipe
    return list(model.model_fields)
