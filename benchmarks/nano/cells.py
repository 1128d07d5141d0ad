"""The tasks and the methods of nano_superb.py as data, and the selection of cells. Nothing runs here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

TUNED, FROZEN = "tuned", "frozen"
MODES = (TUNED, FROZEN)
TEACHER, SCRATCH, PRUNED = "teacher", "scratch", "hj_size_kd"
SEEDS = (0, 1)
CLEAN = "clean"
"""The name of the outcomes on the task's own clips."""
Key = tuple[str, str, str, int]
"""Task, method, mode, seed: what names a row."""


@dataclass(frozen=True)
class Task:
    """One column of the tables: a corpus, its task, and how a model is fine-tuned on it."""

    words: str
    corpus: str
    """The folder in the folder of corpora."""
    task: str
    """The task in recipes."""
    target: str
    metric: str
    steps: int
    seconds: float
    """The audio length of its MACs and its latency."""
    learning_rate: float = 5e-4
    batch_size: int = 16
    data: Mapping[str, Any] = field(default_factory=dict)
    """Other keys of the section `data`."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the model's config: those of the head."""
    also: str = ""
    """Another corpus whose clips the same model is judged on."""
    noisy: bool = False
    """Whether it is also judged under noise and in rooms."""

    @property
    def error(self) -> bool:
        """Whether lower is better."""
        return self.metric not in ("accuracy", "f1")


TASKS: dict[str, Task] = {
    "ks": Task(
        "keywords, 40 Arabic words",
        *("arabic_commands", "classification", "label", "accuracy"),
        steps=800,
        seconds=1.0,
        batch_size=32,
        data={"max_seconds": 1.5},
        noisy=True,
    ),
    "sv": Task(
        "speaker verification, SpeechOcean",
        *("speechocean_full", "speaker_verification", "speaker", "eer"),
        steps=600,
        seconds=3.0,
        data={"max_seconds": 6.0, "crop_seconds": 2.0, "margin": 0.2, "augment": False},
        config={
            "tdnn_dim": [192, 384],
            "tdnn_kernel": [3, 1],
            "tdnn_dilation": [1, 1],
            "xvector_output_dim": 128,
        },
        also="an4_asr",
        noisy=True,
    ),
    "pr": Task(
        "phonemes, SpeechOcean",
        *("speechocean_full", "phonemes", "phones", "per"),
        steps=1000,
        seconds=3.0,
        data={"max_seconds": 8.0, "group_by_length": True, "augment": False},
    ),
    "asr": Task(
        "words, AN4",
        *("an4_asr", "ctc", "text", "wer"),
        steps=1000,
        seconds=3.0,
        data={"group_by_length": True, "augment": False},
        noisy=True,
    ),
    "ic": Task(
        "intents, coffee orders",
        *("coffee_intents", "slots", "label|size|roast|shots|milk|sugar", "f1"),
        steps=600,
        seconds=4.0,
        data={"max_seconds": 8.0, "group_by_length": True},
    ),
}


@dataclass(frozen=True)
class Method:
    """A row of the tables."""

    label: str
    about: str
    """What was run, for the page."""


METHODS: dict[str, Method] = {
    TEACHER: Method("teacher", "the small HuBERT, pretrained without labels"),
    SCRATCH: Method("from scratch", "a model of the teacher's shape with mel filters and random weights"),
    "distilhubert": Method(
        "DistilHuBERT", "the teacher's first layers; L1 and log-cosine of three states, one head each"
    ),
    "layer_matching": Method(
        "layer matching", "STaR's student; L1 and cosine of every state, one projection each"
    ),
    "star": Method("STaR", "half as wide; layer-wise and intra-layer Gram matrices, as published"),
    "star_layer": Method("STaR, layer-wise alone", "the same student; Gram matrices between the two models"),
    "star_intra": Method("STaR, intra-layer alone", "the same student; Gram matrices between layers"),
    "star_attention": Method("STaR, attention alone", "the same student; mean attention maps"),
    "star_all": Method("STaR, all three", "the same student; the three objectives together"),
    "arm": Method("ARM", "half as wide, every second layer reuses its map; masking distillation"),
    "mask": Method("MaskHuBERT", "the same without reuse"),
    "robust": Method("RobustDistiller", "DistilHuBERT that hears noise and rooms, with the enhancement head"),
    "dphubert": Method("DPHuBERT", "gates on the teacher with L1 and cosine, then the same without gates"),
    PRUNED: Method(
        "HJ-Size + distillation",
        "gates on the teacher that was fine-tuned on the task, with half of the task's loss",
    ),
}
STUDENTS = tuple(name for name in METHODS if name not in (TEACHER, PRUNED))
"""The methods that make a model before any task."""
ROBUST = (TEACHER, "distilhubert", "robust")
"""The methods that are judged under noise and in rooms."""


@dataclass(frozen=True)
class Cell:
    """The making of a student (without a task), or a model on a task."""

    method: str
    seed: int
    task: str = ""
    mode: str = TUNED

    @property
    def name(self) -> str:
        """The name of its folder."""
        parts = (self.method, self.task, self.mode if self.task else "student", f"s{self.seed}")
        return "-".join(part for part in parts if part)

    @property
    def key(self) -> Key:
        """What names its row."""
        return self.task, self.method, self.mode, self.seed

    @property
    def needs(self) -> tuple["Cell", ...]:
        """The cells that make the model that this one starts from."""
        if not self.task or self.method == TEACHER:
            return ()
        if self.method == PRUNED:
            return (replace(self, method=TEACHER),)
        return (Cell(self.method, self.seed),)

    @property
    def makes_sense(self) -> bool:
        """A model that is pruned for its task cannot stay frozen."""
        return not (self.method == PRUNED and self.mode == FROZEN)


def cells_of(
    tasks: Sequence[str] = (),
    methods: Sequence[str] = (),
    modes: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> list[Cell]:
    """Return the cells of the tables, seed by seed; an empty selection means all."""
    every = (
        Cell(method, seed, task, mode)
        for seed in seeds or SEEDS
        for mode in modes or MODES
        for method in methods or METHODS
        for task in tasks or TASKS
    )
    return [cell for cell in every if cell.makes_sense]


def missing(
    cells: Iterable[Cell], has_row: Callable[[Cell], bool], has_model: Callable[[Cell], bool]
) -> list[Cell]:
    """Return the cells without a row, each after the cells that it needs and whose models are missing."""
    found: dict[Cell, None] = {}
    for cell in cells:
        if has_row(cell):
            continue
        for need in cell.needs:
            if not has_model(need):
                found.setdefault(need)
        found.setdefault(cell)
    return list(found)
