"""The sections of a recipe: configs of the package, and what a recipe says beside them."""

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
from prune_ssl.distillation import DistillationConfig
from prune_ssl.distillation.students import STUDENTS, StudentConfig
from prune_ssl.errors import BudgetError, DistillationError, RecipeError
from prune_ssl.gating import PruningConfig
from prune_ssl.models import FAMILIES
from prune_ssl.models.arguments import check_types
from prune_ssl.recipes.model_config import check_config
from prune_ssl.recipes.parts import PLACED, Part
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
"""Of transformers' SchedulerType those that need no settings beside the steps, and no evaluation."""

BARE_PERCENT = re.compile(r"\s*[0-9.]+\s*%\s*")
MOST, MOST_STEPS = 1_000_000, 1_000_000_000
Steps = Annotated[int, Field(gt=0, le=MOST_STEPS)]
Seconds = Annotated[float, Field(ge=0.025, le=3_600)]
"""Of audio: at least what a frontend needs for one frame."""
Rate = Annotated[float, Field(gt=0)]


class AboutPart(Part):
    """What a reader wants to know before running a recipe; shown in the table of recipes."""

    data: str = "-"
    method: str = "-"
    paper: str = "-"
    """What the method's paper reports; "-" where it reports nothing comparable."""
    needs: str = "-"


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
    def _without_unsaid_family(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Leave out a family that nobody gave beside a name: read again, it would contradict the model."""
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
        if "family" in info.data:  # else that is refused already
            check_config(info.data["family"], config, from_scratch=info.data.get("name") is None)
        return config


@dataclass(frozen=True, kw_only=True)
class CorruptionPart(CorruptionConfig):
    """Noise and reverberation on training clips, and what the teacher hears.

    A dense model that is to teach with clean audio is trained on clean clips.
    """

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
    stream: Annotated[StreamSource, PLACED] | None = None
    """For corpora that are too large to download or check first; leave out for folders of audio. `path`
    is then a name of the hub, or a folder of Parquet, JSONL, CSV, Arrow or WebDataset files."""
    augment: Annotated[AugmentConfig, PLACED] | None = AugmentConfig()
    """Speed, shift, gain, noise and rooms on training clips; true: the usual ones, false: none. With
    `corruption`, it alone brings noise and rooms."""
    corruption: Annotated[CorruptionPart, PLACED] | None = None
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
    def _in_a_word(cls, augment: object) -> object:
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


@dataclass(frozen=True, kw_only=True)
class TrainPart:
    """One training phase."""

    steps: Steps
    learning_rate: Rate
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.1
    scheduler: Scheduler = "linear"
    freeze: Literal["backbone", "frontend"] | None = None
    """The part that does not learn: `backbone` is all but the head, `frontend` the convolutions."""

    def __post_init__(self) -> None:
        check_types(self, RecipeError)


def _readable(given: str | list[str] | tuple[str, ...]) -> str | list[str] | tuple[str, ...]:
    """Refuse budgets that cannot be read.

    Raises:
        ValueError: one cannot.
    """
    try:
        for text in given if isinstance(given, (list, tuple)) else [given]:
            parse_budget(text)
    except BudgetError as error:
        raise ValueError(str(error).removeprefix("budget: ").removesuffix(".")) from error
    return given


@dataclass(frozen=True, kw_only=True)
class PruningPart(PruningConfig):
    """Gate training and recovery: a PruningConfig, its steps and learning rate."""

    budget: Annotated[str, BeforeValidator(_readable)]
    budgets: Annotated[tuple[str, ...], BeforeValidator(_readable)] = ()
    """A progressive run: one model for each of these, `80%` or `macs=80%`, from the largest to the smallest;
    `budget` is then the last of them."""
    milestones: Annotated[tuple[str, ...], Field(exclude=True)] = field(init=False, default=())
    steps: Steps
    learning_rate: Rate
    rounds: Annotated[int, Field(ge=1, le=1_000)] = 5
    recovery: Annotated[float, Field(ge=0, le=1_000)] = 1.0
    recovery_learning_rate: Rate | None = None
    round_to: Annotated[int, Field(ge=1, le=MOST)] = 8
    seconds: Seconds = 10.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.budgets[:-1]))
        kinds = self.kinds
        super().__post_init__()
        # The stock layout takes some out: they stay said, for whoever changes the layout of a written recipe.
        object.__setattr__(self, "kinds", tuple(kinds))


def last_of_budgets(data: object) -> object:
    """Let `budgets` stand alone, and short ones like `80%` name MACs.

    Raises:
        ValueError: `budgets` is no list, or `budget` is another one than its last.
    """
    if not isinstance(data, dict) or data.get("budgets") in (None, [], ()):
        return data
    given = data["budgets"]
    if not isinstance(given, (list, tuple)):
        raise ValueError(f"budgets: found {given!r:.60}, wanted a list such as [80%, 60%]")
    texts = [_of_macs(text) for text in given]
    if data.get("budget", texts[-1]) != texts[-1]:
        raise ValueError(f"budget is {data['budget']}, but the last of budgets is {texts[-1]}; leave it out")
    return data | {"budgets": tuple(texts), "budget": texts[-1]}


def _of_macs(text: object) -> object:
    """Return a budget of a list, in which `80%` is of the MACs."""
    return f"macs={text}" if isinstance(text, str) and BARE_PERCENT.fullmatch(text) else text


@dataclass(frozen=True, kw_only=True)
class DistillationPart(DistillationConfig):
    """A DistillationConfig, and the teacher."""

    losses: dict[str, float]
    """The weight of each loss; a recipe names its losses."""
    teacher: str | None = None
    """Folder or hub name; None: the dense model."""


@dataclass(frozen=True, kw_only=True)
class StudentPart(TrainPart, StudentConfig):
    """A small student that learns from the teacher in place of pruning: its shape and its training."""

    name: str | None = None
    """One of the papers' students; the shape that is given beside it takes the place of its own."""
    seconds: Seconds = 10.0
    """Audio length for MACs."""

    def __post_init__(self) -> None:
        check_types(self, DistillationError)
        if self.name is not None and self.name not in STUDENTS:
            raise DistillationError(f"name: found {self.name!r}, wanted one of {', '.join(STUDENTS)}.")

    @property
    def changed(self) -> dict[str, object]:
        """The fields of the shape that differ from the named student's, or from the teacher's."""
        named = STUDENTS[self.name] if self.name else StudentConfig()
        found = {name: getattr(self, name) for name in shape_fields()}
        return {name: value for name, value in found.items() if value != getattr(named, name)}

    @property
    def shown(self) -> str:
        """The shape in a few words."""
        shown = [f"{key}={value}" for key, value in self.changed.items()]
        return ", ".join(([self.name] if self.name else []) + shown)


def shape_fields() -> tuple[str, ...]:
    """Return the keys of `student` that say its shape."""
    return tuple(each.name for each in dataclasses.fields(StudentConfig))


def shape_of_the_named(data: object) -> object:
    """Fill in the shape of a named student; a value of null is none."""
    if not isinstance(data, dict):
        return data
    shape = shape_fields()
    given = {key: value for key, value in data.items() if key not in shape or value is not None}
    named = STUDENTS.get(name) if isinstance(name := data.get("name"), str) else None
    return given if named is None else vars(named) | given


class OptimizerPart(Part):
    """AdamW, beside the learning rates of the phases and `weight_decay`."""

    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    epsilon: float = Field(default=1e-8, gt=0)
    max_grad_norm: float = Field(default=1.0, gt=0)


class ReportPart(Part):
    """What the report measures."""

    seconds: tuple[Seconds, ...] = Field(default=(1.0, 5.0, 10.0), min_length=1)
    threads: tuple[Annotated[int, Field(ge=1, le=1_024)], ...] = Field(default=(1,), min_length=1)
    iterations: int = Field(default=50, ge=3, le=MOST)
    min_seconds: float = Field(default=3.0, ge=0, le=3_600)
