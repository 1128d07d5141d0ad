"""The studies and the methods of method_table.py as data, and the selection of cells. Nothing runs here."""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace

DENSE, CONTROL, GATES = "dense", "control", "gates"
TORCH_PRUNING, GATES_UNITS = "torch_pruning", "gates_units"
WHOLE = 100
"""The budget of the dense model and of the control, in percent."""
Key = tuple[str, str, int, int]
"""Study, method, budget in percent, seed: what names a row of the table."""


@dataclass(frozen=True)
class Study:
    """One corpus, its task and the cells that are run on it."""

    name: str
    recipe: str
    """The name of the shipped recipe that the settings are taken from."""
    corpus: str
    """The folder in the folder of corpora."""
    metric: str
    """`accuracy`, `wer` or `eer`."""
    steps: int
    """Optimiser steps of every method and of the control, after those of the dense model."""
    budgets: tuple[int, ...]
    """In percent of the dense model's MACs."""
    seeds: tuple[int, ...]
    methods: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    setting: str = ""
    """Said above its tables."""

    @property
    def lower_is_better(self) -> bool:
        return self.metric != "accuracy"


@dataclass(frozen=True)
class Method:
    """A row of the tables."""

    label: str
    about: str
    """What was run, for the page."""
    overrides: tuple[str, ...] = ()
    """Settings of the recipe. They come after those of the study."""
    budget: str = "macs"
    """How the budget is made from the percentage: a key of `recipes.BUDGETS`."""
    shares: tuple[float, ...] = (0.5, 0.5)
    """The parts of the steps: gate training or cuts, recovery, and training of the result in a second run."""


def by_cuts(method: str, criterion: str) -> tuple[str, ...]:
    return f"pruning.method={method}", f"pruning.criterion={criterion}"


METHODS = {
    DENSE: Method("dense", "the model that all others start from"),
    CONTROL: Method(
        "control: dense, trained on",
        "nothing is cut: the dense model trains for as many steps more as the others",
        by_cuts("one_shot", "uniform"),
    ),
    GATES: Method("gates", "learned gates on the task loss with a budget in MACs: the defaults"),
    "auto": Method(
        "auto", "`pruning.method: auto` chooses among methods on validation", ("pruning.method=auto",)
    ),
    "hj_pruning": Method(
        "gates, preset hj_pruning",
        "`pruning.preset: hj_pruning`, the plain settings of the papers (HJ-Pruning-MAC)",
        ("pruning.preset=hj_pruning",),
    ),
    "hj_size": Method(
        "gates, budget in parameters (HJ-Size)",
        "one constraint on parameters: as many as gates kept, whatever the MACs are",
        budget="params_of_gates",
    ),
    "hj_sepsize": Method(
        "gates, parameters by section (HJ-SepSize)",
        "parameters of frontend and encoder as a uniform cut to this share of the MACs leaves them",
        budget="sections_of_uniform",
    ),
    "gates_kd": Method(
        "gates + distillation",
        "L1, cosine and logits from the dense model beside half the task loss",
        ("distillation={losses: {l1: 1.0, cosine: 1.0, logits: 1.0}, task_weight: 0.5}",),
    ),
    "dphubert": Method(
        "DPHuBERT's two stages, then the task",
        "gates with L1 and cosine from the dense model and no task loss (40% of the steps), the same without "
        "gates (20%), then the task loss (40%); the head is the dense model's",
        ("distillation={losses: {l1: 1.0, cosine: 1.0}, task_weight: 0.0}",),
        shares=(0.4, 0.2, 0.4),
    ),
    "one_shot_taylor": Method(
        "Taylor, one cut", "one cut by first-order Taylor scores per MAC", by_cuts("one_shot", "taylor")
    ),
    "iterative_taylor": Method(
        "Taylor, iterative", "five cuts by Taylor scores per MAC", by_cuts("iterative", "taylor")
    ),
    "one_shot_magnitude": Method(
        "magnitude, one cut", "one cut by magnitude per MAC", by_cuts("one_shot", "magnitude")
    ),
    "iterative_magnitude": Method(
        "magnitude, iterative", "five cuts by magnitude per MAC", by_cuts("iterative", "magnitude")
    ),
    "one_shot_random": Method("random, one cut", "one cut at random", by_cuts("one_shot", "random")),
    "iterative_random": Method("random, iterative", "five cuts at random", by_cuts("iterative", "random")),
    TORCH_PRUNING: Method(
        "torch-pruning, magnitude",
        "BasePruner with MagnitudeImportance, once, then the same training; weight norm folded, heads "
        "declared, whole heads only; the ratio is the smallest that meets the budget; it prunes the hidden "
        "size too",
        by_cuts("one_shot", "uniform"),
    ),
    GATES_UNITS: Method(
        "the units that gates kept, one cut",
        "one cut of the dense model to the units that the gates of this budget and seed kept, without their "
        "weights: the choice of units alone",
        by_cuts("one_shot", "uniform"),
    ),
}
FEW = (GATES, "one_shot_taylor", "iterative_taylor", "one_shot_random")
"""The methods of the second group of studies, which shows that nothing is tuned to one corpus."""
STUDIES = {
    study.name: study
    for study in (
        Study(
            "arabic_commands",
            "ks_arabic_hj_mac",
            "arabic_commands",
            "accuracy",
            steps=1000,
            budgets=(50, 25, 12),
            seeds=(0, 1, 2),
            methods=tuple(name for name in METHODS if name not in (DENSE, CONTROL)),
            overrides=(
                "model.config.num_conv_pos_embedding_groups=16",
                "dense.steps=2000",
                "dense.learning_rate=2e-3",
            ),
            setting="40 Arabic words, 3,600 training clips; the 1,200 test clips are of three other "
            "speakers. A HuBERT of 0.44 M parameters from scratch: 2,000 dense steps, then 1,000 for every "
            "row. MACs at 1 s.",
        ),
        Study(
            "an4_asr",
            "asr_an4_hj_mac",
            "an4_asr",
            "wer",
            steps=800,
            budgets=(50, 25),
            seeds=(0, 1),
            methods=FEW,
            setting="Speech recognition with CTC on AN4 (spelled names, numbers), 639 training clips; the "
            "101 test clips are of eight other speakers. 2,400 dense steps, then 800 for every row. MACs at "
            "3 s.",
        ),
        Study(
            "an4_speakers",
            "sv_an4_hj_mac",
            "an4_asr",
            "eer",
            steps=300,
            budgets=(50, 25),
            seeds=(0, 1),
            methods=FEW,
            overrides=("model.config.num_conv_pos_embedding_groups=16",),
            setting="Speaker verification on AN4, 50 training speakers; 480 test trials of eight others. 750 "
            "dense steps, then 300 for every row. MACs at 3 s.",
        ),
    )
}


@dataclass(frozen=True)
class Cell:
    """One run: a method at a budget from the dense model of a seed."""

    study: Study
    method: str
    percent: int
    """Of the dense MACs that are kept."""
    seed: int

    @property
    def name(self) -> str:
        whole = self.method in (DENSE, CONTROL)
        return f"{self.method}-s{self.seed}" if whole else f"{self.method}-{self.percent}-s{self.seed}"

    @property
    def key(self) -> Key:
        return self.study.name, self.method, self.percent, self.seed

    @property
    def needs(self) -> tuple["Cell", ...]:
        """The cells that this one starts from or takes its budget from."""
        if self.method == DENSE:
            return ()
        dense = replace(self, method=DENSE, percent=WHOLE)
        by_gates = self.method == GATES_UNITS or METHODS[self.method].budget == "params_of_gates"
        return (dense, replace(self, method=GATES)) if by_gates else (dense,)


def cells_of(
    study: Study, methods: Sequence[str] = (), budgets: Sequence[int] = (), seeds: Sequence[int] = ()
) -> list[Cell]:
    """Return the cells of a study, seed by seed; an empty selection means all that the study has.

    The dense model and the control have no budget: they are among the cells of every budget.
    """
    found = []
    for seed in seeds or study.seeds:
        wanted = methods or (DENSE, CONTROL, *study.methods)
        found += [Cell(study, name, WHOLE, seed) for name in (DENSE, CONTROL) if name in wanted]
        found += [
            Cell(study, name, percent, seed)
            for percent in budgets or study.budgets
            for name in wanted
            if name not in (DENSE, CONTROL)
        ]
    return found


def missing(cells: Iterable[Cell], known: Container[Key], is_there: Callable[[Cell], bool]) -> list[Cell]:
    """Return the cells without a row, each after the cells that it needs and that are missing too.

    Args:
        cells: The cells that are wanted.
        known: The keys of the rows.
        is_there: Whether the model of a dense cell is there, to be pruned.
    """
    found: dict[Cell, None] = {}

    def add(cell: Cell, to_prune: bool) -> None:
        if cell.key in known and (is_there(cell) or not to_prune):
            return
        for each in cell.needs:
            add(each, each.method == DENSE)
        found.setdefault(cell)

    for cell in cells:
        add(cell, False)
    return list(found)
