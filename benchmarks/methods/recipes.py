"""The recipe of a cell, and the budgets that follow from other cells."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from methods.results import Row
from methods.studies import (
    CONTROL,
    DENSE,
    GATES,
    GATES_UNITS,
    METHODS,
    TORCH_PRUNING,
    WHOLE,
    Cell,
    Key,
    Study,
    by_cuts,
)
from prune_ssl import load_pretrained, select, trace
from prune_ssl.recipes import Recipe, load_recipe, pruning_part

RECIPES = Path(__file__).parents[2] / "recipes"
MODEL_FILE = "model.safetensors"
STAYS_WHOLE = (*by_cuts("one_shot", "uniform"), "pruning.budget=macs=100%")
Rows = Mapping[Key, Row]


@dataclass(frozen=True)
class Setup:
    """Where the corpora and the runs are, and what is changed in every recipe."""

    data: Path
    out: Path
    validation: bool = False
    overrides: tuple[str, ...] = ()
    dense: str = ""
    """The folder of given dense models, with {study} and {seed} in it. Empty: they are trained."""

    @property
    def split(self) -> str:
        return "validation" if self.validation else "test"

    def folder(self, cell: Cell) -> Path:
        """Return the folder of a cell. Dense models are the same whatever the split."""
        shared = cell.method == DENSE or not self.validation
        return self.out / ("" if shared else "validation") / cell.study.name / cell.name

    def dense_model(self, cell: Cell) -> Path:
        """Return the folder of the dense model that a cell starts from."""
        if self.dense:
            return Path(self.dense.format(study=cell.study.name, seed=cell.seed))
        return self.folder(Cell(cell.study, DENSE, WHOLE, cell.seed)) / "run" / "dense"

    def gates_model(self, cell: Cell) -> Path:
        """Return the folder of the model that gates made at a cell's budget and seed."""
        return self.folder(replace(cell, method=GATES)) / "run" / "model"

    def has_dense(self, cell: Cell) -> bool:
        return (self.dense_model(cell) / MODEL_FILE).is_file()


def recipe_of(cell: Cell, setup: Setup, rows: Rows) -> Recipe:
    """Return the recipe of a cell, or of its first run."""
    method = METHODS[cell.method]
    if cell.method == DENSE:  # a recipe cannot train a dense model alone
        return _recipe(cell, setup, "run", (), (*STAYS_WHOLE, "pruning.steps=1", "pruning.recovery=0"))
    whole = cell.method in (CONTROL, TORCH_PRUNING, GATES_UNITS)
    budget = "macs=100%" if whole else BUDGETS[method.budget](cell, setup, rows)
    start = (f"model.name={setup.dense_model(cell)}", "dense=null")
    settings = (*steps_of(cell), *method.overrides)
    return _recipe(cell, setup, "run", settings, (f"pruning.budget={budget}", *start))


def recipe_of_second(cell: Cell, setup: Setup) -> Recipe:
    """Return the recipe of a second run, which trains the model that the first one made on the task alone."""
    steps = round(METHODS[cell.method].shares[2] * cell.study.steps)
    settings = (f"pruning.steps={steps}", "pruning.recovery=0")
    start = (f"model.name={setup.folder(cell) / 'run' / 'model'}", "model.allow_pruned=true", "dense=null")
    return _recipe(cell, setup, "second", settings, (*STAYS_WHOLE, *start))


def steps_of(cell: Cell) -> tuple[str, str]:
    """Return how the steps of a cell are shared between gate training (or cuts) and recovery."""
    first, second = (share * cell.study.steps for share in METHODS[cell.method].shares[:2])
    return f"pruning.steps={round(first)}", f"pruning.recovery={second / round(first)}"


def _recipe(
    cell: Cell, setup: Setup, folder: str, settings: tuple[str, ...], fixed: tuple[str, ...]
) -> Recipe:
    """Return a recipe with settings that the overrides of the setup may change, and with fixed ones.

    Its report times next to nothing, as nothing is read from it.
    """
    path = RECIPES / f"{cell.study.recipe}.yaml"
    return load_recipe(
        path,
        [
            f"report={{seconds: [{seconds_of(cell.study)}], iterations: 3, min_seconds: 0}}",
            *cell.study.overrides,
            *settings,
            *setup.overrides,
            *fixed,
            f"name={cell.name}",
            f"data.path={setup.data / cell.study.corpus}",
            f"data.judged={setup.split}",
            f"seed={cell.seed}",
            f"output={setup.folder(cell) / folder}",
        ],
    )


def seconds_of(study: Study) -> float:
    """Return the audio length of a study's MACs."""
    return pruning_part(load_recipe(RECIPES / f"{study.recipe}.yaml")).seconds


def macs(cell: Cell, setup: Setup, rows: Rows) -> str:
    return f"macs={cell.percent}%"


def params_of_gates(cell: Cell, setup: Setup, rows: Rows) -> str:
    """As many parameters as gates kept at this budget."""
    return f"params={rows[cell.study.name, GATES, cell.percent, cell.seed].params}"


def sections_of_uniform(cell: Cell, setup: Setup, rows: Rows) -> str:
    """The parameters that a uniform cut to this share of the MACs leaves in the frontend and the encoder."""
    model = load_pretrained(setup.dense_model(cell))
    graph = trace(model)
    seconds = seconds_of(cell.study)
    keep = select(model, graph, macs(cell, setup, rows), criterion="uniform", seconds=seconds)
    sections = graph.cost(keep, seconds).by_section
    return ",".join(f"{name}.params={sections[name].params}" for name in ("frontend", "encoder"))


BUDGETS: dict[str, Callable[[Cell, Setup, Rows], str]] = {
    "macs": macs,
    "params_of_gates": params_of_gates,
    "sections_of_uniform": sections_of_uniform,
}
