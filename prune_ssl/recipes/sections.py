"""The sections of a recipe. Most of them extend a config of the package."""

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from prune_ssl.data import AugmentConfig, CorruptionConfig, StreamSource
from prune_ssl.data.folders import CACHE_LIMIT_BYTES
from prune_ssl.distillation import DistillationConfig
from prune_ssl.distillation.students import STUDENTS, StudentConfig
from prune_ssl.errors import BudgetError, DistillationError, RecipeError
from prune_ssl.gating import PruningConfig
from prune_ssl.models import FAMILIES
from prune_ssl.models.arguments import check_types
from prune_ssl.recipes.model_config import check_config
from prune_ssl.recipes.parts import PLACED, Part
from prune_ssl.recipes.second_corpus import SecondCorpus
from prune_ssl.selection import parse_budget

Scheduler = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
]
"""The members of transformers' SchedulerType that need only the number of steps."""

MAX_SECONDS = 15.0
"""Clips are by default at most so long."""

BARE_PERCENT = re.compile(r"\s*[0-9.]+\s*%\s*")
MOST, MOST_STEPS = 1_000_000, 1_000_000_000
Steps = Annotated[int, Field(gt=0, le=MOST_STEPS)]
Seconds = Annotated[float, Field(ge=0.025, le=3_600)]
"""Seconds of audio: at least the length that a frontend needs for one frame."""
Rate = Annotated[float, Field(gt=0)]


class AboutPart(Part):
    """Facts that a reader wants to know before running a recipe. The table of recipes shows them."""

    data: str = "-"
    """The corpus."""
    method: str = "-"
    """The pruning method."""
    paper: str = "-"
    """The result in the method's paper, or "-" if it has none to compare with."""
    needs: str = "-"
    """The hardware and the time that the run needs."""


class ModelPart(Part):
    """The model to prune: a folder or hub name, or an architecture with random weights."""

    name: str | None = None
    """Folder or hub name of the model."""
    family: str = "hubert"
    """The architecture to make if there is no name. `--architecture` assumes it for a named model too."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Fields of the architecture's transformers config. The default is the Base model. For a named model only
    fields that change its training apply (dropouts, LayerDrop, SpecAugment), and replace its own."""
    tokenizer: str | None = None
    """CTC and phonemes: folder or hub name of a tokenizer. None: the model's own, or one made from train."""
    filterbank: bool | Literal["fixed"] = False
    """With random weights: start the first convolution as a bank of mel-spaced band-pass filters, and scale
    the other layers of the frontend by the statistics of a few clips. `fixed` keeps the first convolution,
    also that of a named model, as it is in all phases."""
    pass_on: bool = False
    """With random weights: the other convolutions start as means over time of their channels."""
    allow_pruned: bool = False
    """Allow a model that prune_ssl has pruned before. The budget then refers to the pruned model."""
    head: Literal["keep", "drop"] = "keep"
    """`drop` leaves out the head of a named model, so that the task's head starts untrained."""
    allow_pickle: bool = False
    """Read the weights of a named model from pytorch_model.bin if it has no safetensors."""
    dtype: Literal["stored", "float32", "float16", "bfloat16"] = "stored"
    """The dtype of the written weights. `stored` is the dtype of the named model. Training uses float32."""

    @model_serializer(mode="wrap")
    def _without_default_family(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Leave out a default family if the model has a name: read back, it could contradict the model."""
        fields: dict[str, object] = handler(self)
        if self.name is not None and "family" not in self.model_fields_set:
            fields.pop("family", None)
        return fields

    @field_validator("family")
    @classmethod
    def _is_known(cls, family: str) -> str:
        known = [name for name, each in FAMILIES.items() if each.classes and each.input.extractor]
        if family not in known:
            raise ValueError(f"found {family!r}, wanted one of {', '.join(known)}")
        return family

    @field_validator("config")
    @classmethod
    def _makes_a_model(cls, config: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "family" in info.data:  # otherwise the family was refused already
            check_config(info.data["family"], config, from_scratch=info.data.get("name") is None)
        return config


@dataclass(frozen=True, kw_only=True)
class CorruptionPart(CorruptionConfig):
    """Noise and reverberation on the student's training clips.

    If the dense model will teach with clean audio, it is itself trained on clean clips.
    """

    clean_teacher: bool = True
    """Whether the teacher gets the clean clip (RobustDistiller), or the student's corrupted clip."""


MOST_WORKERS = 256


class DataPart(Part):
    """The corpus: a folder with SPLIT/metadata.csv, or another known layout."""

    path: str
    """The folder of the corpus."""
    target: str | None = None
    """The column to predict, such as intent or speaker. scenario+action is one label, size|milk are two
    slots. Task representation needs none."""
    loss_weights: tuple[float, ...] = ()
    """Joint tasks: one weight for each column of the target. Empty: 1 each."""
    fills: str | None = None
    """Joint tasks of two corpora: the columns of the target that the corpus of `path` has. None: all."""
    also: SecondCorpus | None = None
    """Joint tasks: a second corpus with other columns of the target."""
    stream: Annotated[StreamSource, PLACED] | None = None
    """For corpora that are too large to download or check beforehand. `path` is then a name on the hub, or a
    folder of Parquet, JSONL, CSV, Arrow or WebDataset files. Leave it out for folders of audio."""
    augment: Annotated[AugmentConfig, PLACED] | None = AugmentConfig()
    """Speed, shift, gain, noise and reverberation on training clips. true: the defaults; false: none. If
    `corruption` is given, only `corruption` adds noise and reverberation."""
    corruption: Annotated[CorruptionPart, PLACED] | None = None
    """Noise and reverberation on the student's clips, for robust distillation."""
    max_seconds: float = Field(default=MAX_SECONDS, gt=0)
    """Longer clips are cut. With transcripts or phonemes, longer train clips are left out instead, and the
    others stay whole."""
    min_seconds: float = Field(default=0.0, ge=0)
    """Shorter train clips are left out."""
    longer: Literal["cut", "leave_out"] = "cut"
    """The fate of train clips that are longer than `max_seconds`, if nothing is transcribed. With `leave_out`
    the longer clips of the other splits stay whole."""
    crop_seconds: float | None = Field(default=None, gt=0)
    """A longer training clip gives a random piece of this length each time."""
    judged: Literal["test", "validation"] | None = None
    """The split to judge on. None: test if it exists. Choose settings on validation."""
    group_by_length: bool = False
    """Train on batches of clips of similar length, which need less padding."""
    batch_seconds: float | None = Field(default=None, gt=0)
    """Train on batches of this much audio, including padding, instead of `batch_size` clips. A batch then has
    many short clips or few long ones. Lengths are those before augmentation."""
    trials: str | None = None
    """Verification: the trial list, relative to path."""
    cache_limit_bytes: int = Field(default=CACHE_LIMIT_BYTES, ge=0)
    """Decoded clips stay in memory up to this size (float32), those of train first. The others are decoded
    at each use. Each training process has its own memory."""
    workers: int = Field(default=0, ge=0, le=MOST_WORKERS)
    """Processes that decode and augment clips ahead of the training, for a GPU that would wait for them. 0:
    the training process itself. The clips and their order are the same for any number."""
    outside: bool = False
    """Whether a `file_name` in a metadata.csv or .jsonl may lead out of `path`."""
    margin: float | None = Field(default=None, ge=0, lt=1)
    """Verification: the margin of AM-softmax. None: the model's own, 0.4. Joint tasks: the same for the
    speakers. None: cross entropy. Dense training raises it step by step."""

    @field_validator("augment", mode="before")
    @classmethod
    def _from_bool(cls, augment: object) -> object:
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
            "batch_seconds (no length is known before its clip is read): give `batch_size`": (
                self.batch_seconds is not None
            ),
            "workers (one process reads a stream): leave it out": self.workers > 0,
            "corruption: take noise and rooms from `augment`, or a folder": self.corruption is not None,
            "judged: name the split by `stream.judged`": self.judged is not None,
            "also: train on folders": self.also is not None,
            "min_seconds (no length is known before its clip is read): leave it out": self.min_seconds > 0,
            "longer: leave_out (no length is known before its clip is read)": self.longer != "cut",
            "cache_limit_bytes: `stream.sample` and `stream.judged_limit` bound its memory": (
                self.cache_limit_bytes != CACHE_LIMIT_BYTES
            ),
        }
        if self.group_by_length and self.batch_seconds is not None:
            raise ValueError(
                "batches by `batch_seconds` already have clips of similar length: leave group_by_length out"
            )
        for words, found in refused.items():
            if self.stream is not None and found:
                raise ValueError(
                    f"a streamed corpus cannot have {words}; or download it and leave `stream` out"
                )
        return self

    @model_validator(mode="after")
    def _has_one_source_of_noise(self) -> "DataPart":
        augment = self.augment
        if self.corruption and augment and (augment.noise or augment.rirs or augment.reverb_probability):
            raise ValueError(
                "`augment` and `corruption` both name noise or rooms: keep those of `corruption`, which the "
                "teacher need not hear"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class TrainPart:
    """One training phase."""

    steps: Steps
    """Optimiser steps."""
    learning_rate: Rate
    """The highest learning rate."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """The share of the steps in which the learning rate rises from 0."""
    scheduler: Scheduler = "linear"
    """The schedule of the learning rate after the warm-up."""
    freeze: Literal["backbone", "frontend"] | None = None
    """The part that is not trained: `backbone` is everything except the head, `frontend` the convolutions."""

    def __post_init__(self) -> None:
        check_types(self, RecipeError)


def _readable(given: str | list[str] | tuple[str, ...]) -> str | list[str] | tuple[str, ...]:
    """Refuse budgets that cannot be read.

    Raises:
        ValueError: a budget cannot be read.
    """
    try:
        for text in given if isinstance(given, (list, tuple)) else [given]:
            parse_budget(text)
    except BudgetError as error:
        raise ValueError(str(error).removeprefix("budget: ").removesuffix(".")) from error
    return given


@dataclass(frozen=True, kw_only=True)
class PruningPart(PruningConfig):
    """Gate training and recovery: a PruningConfig with its steps and its learning rate."""

    budget: Annotated[str, BeforeValidator(_readable)]
    """The share or amount to keep, such as `macs=50%`."""
    budgets: Annotated[tuple[str, ...], BeforeValidator(_readable)] = ()
    """A progressive run makes one model for each of these budgets (`80%` or `macs=80%`), from the largest to
    the smallest. `budget` is then the last of them."""
    milestones: Annotated[tuple[str, ...], Field(exclude=True)] = field(init=False, default=())
    default_kinds: Annotated[bool, Field(exclude=True)] = field(init=False, default=False)
    steps: Steps
    """Optimiser steps of gate training."""
    learning_rate: Rate
    """The learning rate of the weights."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """The share of the steps in which the learning rate of the weights rises from 0."""
    rounds: Annotated[int, Field(ge=1, le=1_000)] = 5
    recovery: Annotated[float, Field(ge=0, le=1_000)] = 1.0
    recovery_learning_rate: Rate | None = None
    round_to: Annotated[int, Field(ge=1, le=MOST)] = 8
    seconds: Seconds = 10.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.budgets[:-1]))
        kinds = self.kinds
        super().__post_init__()
        # The written recipe keeps the kinds that were given, in case its layout or budget is changed.
        object.__setattr__(self, "kinds", tuple(kinds))


def last_of_budgets(data: object) -> object:
    """Fill in `budget` from the last of `budgets`, and read a bare `80%` as MACs.

    Raises:
        ValueError: `budgets` is not a list, or `budget` differs from its last entry.
    """
    if not isinstance(data, dict) or data.get("budgets") in (None, [], ()):
        return data
    given = data["budgets"]
    if not isinstance(given, (list, tuple)):
        raise ValueError(f"budgets: found {given!r:.60}, wanted a list such as [80%, 60%]")
    texts = [_with_macs(text) for text in given]
    if data.get("budget", texts[-1]) != texts[-1]:
        raise ValueError(f"budget is {data['budget']}, but the last of budgets is {texts[-1]}; leave it out")
    return data | {"budgets": tuple(texts), "budget": texts[-1]}


def _with_macs(text: object) -> object:
    """Return a budget in which a bare `80%` is written as `macs=80%`."""
    return f"macs={text}" if isinstance(text, str) and BARE_PERCENT.fullmatch(text) else text


@dataclass(frozen=True, kw_only=True)
class DistillationPart(DistillationConfig):
    """A DistillationConfig with its teacher."""

    losses: dict[str, float]
    """The weight of each loss. A recipe must name its losses."""
    teacher: str | None = None
    """Folder or hub name of the teacher. None: the dense model."""
    keep_projections: bool = False
    """Keep what maps the states to the teacher's width, as projections.safetensors beside the model, for
    `prune-ssl superb probe --features projected`."""


@dataclass(frozen=True, kw_only=True)
class StudentPart(TrainPart, StudentConfig):
    """A small student that learns from the teacher instead of pruning: its shape and its training."""

    name: str | None = None
    """The name of a published student. Fields of the shape that are given as well replace its own."""
    seconds: Seconds = 10.0
    """The audio length for MACs."""

    def __post_init__(self) -> None:
        check_types(self, DistillationError)
        if self.name is not None and self.name not in STUDENTS:
            raise DistillationError(f"name: found {self.name!r}, wanted one of {', '.join(STUDENTS)}.")

    @property
    def changed(self) -> dict[str, object]:
        """The fields of the shape that differ from those of the named student, or of the teacher."""
        named = STUDENTS[self.name] if self.name else StudentConfig()
        found = {name: getattr(self, name) for name in shape_fields()}
        return {name: value for name, value in found.items() if value != getattr(named, name)}

    @property
    def shown(self) -> str:
        """The shape in a few words."""
        shown = [f"{key}={value}" for key, value in self.changed.items()]
        return ", ".join(([self.name] if self.name else []) + shown) or "the model's own shape"


def shape_fields() -> tuple[str, ...]:
    """Return the keys of `student` that describe its shape."""
    return tuple(each.name for each in dataclasses.fields(StudentConfig))


def shape_of_the_named(data: object) -> object:
    """Fill in the shape of a named student. A null counts as a missing value."""
    if not isinstance(data, dict):
        return data
    shape = shape_fields()
    given = {key: value for key, value in data.items() if key not in shape or value is not None}
    named = STUDENTS.get(name) if isinstance(name := data.get("name"), str) else None
    return given if named is None else vars(named) | given


class OptimizerPart(Part):
    """Settings of AdamW besides the learning rates of the phases and `weight_decay`."""

    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    """The decay rates of the two moments."""
    epsilon: float = Field(default=1e-8, gt=0)
    """The constant in the denominator."""
    max_grad_norm: float | None = Field(default=1.0, gt=0)
    """Gradients are clipped to this norm. null: they are not clipped."""


class ReportPart(Part):
    """The measurements of the report."""

    seconds: tuple[Seconds, ...] = Field(default=(1.0, 5.0, 10.0), min_length=1)
    """Audio lengths."""
    threads: tuple[Annotated[int, Field(ge=1, le=1_024)], ...] = Field(default=(1,), min_length=1)
    """Thread counts."""
    iterations: int = Field(default=50, ge=3, le=MOST)
    """The smallest number of timed calls of each model."""
    min_seconds: float = Field(default=3.0, ge=0, le=3_600)
    """The smallest total time of the timed calls of each model."""
