"""Accuracy by method and budget: equal training steps, one dense model per seed, cell by cell, resumable.

    python benchmarks/method_table.py --data PATH/TO/CORPORA --out out/methods --page docs/methods_compared.md

CORPORA holds fsdd_digits and arabic_keywords (audiofolders with train, validation and test). Cells that have
a report are not run again. Every cell starts from the dense model of its seed and trains for the same number
of steps, of which methods with rounds or gates spend the first part on the way down. `--study` runs one study
only, `--validation` judges on the validation split (for choices; the page never shows it).
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
import torch_pruning as tp
from methods_page import Result, StudyResults, write_page, write_sweep_page
from torch import nn
from torch.nn.utils import parametrize
from torch_pruning_side_by_side import declared_heads

from prune_ssl import RunFacts, Timing, load_pretrained, report, select, trace
from prune_ssl.cli.console import quiet_libraries, say
from prune_ssl.errors import PruneError
from prune_ssl.models import FAMILIES, backbone_of
from prune_ssl.pipeline import run, trainer_for
from prune_ssl.recipes import Recipe, load_recipe
from prune_ssl.reporting.sweep_point import SweepPoint
from prune_ssl.sweeping import point_of

RECIPE = Path(__file__).parents[1] / "recipes" / "ks_digits_hj_mac.yaml"
SECONDS = 1.0  # at which MACs are counted, as in the recipe
BEST = 4  # methods that the second study takes over from the first


@dataclass(frozen=True)
class Study:
    """One corpus and what is run on it."""

    corpus: str
    budgets: tuple[int, ...]
    """Percent of the dense MACs."""
    seeds: tuple[int, ...]
    overrides: tuple[str, ...]
    setting: str
    """Said above its tables."""
    start: Path | None = None
    """The model that is pruned, if not the dense one of the seed."""
    best_of: str | None = None
    """Take the best methods of this study at the same budget instead of all."""


@dataclass(frozen=True)
class Cell:
    """One run."""

    study: Study
    method: str
    percent: int
    seed: int
    out: Path
    """Folder of the study's runs."""

    @property
    def folder(self) -> Path:
        return self.out / f"{self.method}-{self.percent}-s{self.seed}"

    @property
    def dense(self) -> Path:
        """The model that is pruned: a given one, or the dense one of the seed, which the control trains."""
        return self.study.start or replace(self, method=CONTROL, percent=100).folder / "dense"

    @property
    def report(self) -> Path:
        return self.folder / "report.json"

    def of(self, method: str, percent: int | None = None) -> "Cell":
        return replace(self, method=method, percent=self.percent if percent is None else percent)

    def point(self) -> SweepPoint:
        return point_of(self.report, f"{self.percent}%", METHODS[self.method].label, self.seed)


def macs(cell: Cell) -> str:
    return f"macs={cell.percent}%"


def params_of_hj_mac(cell: Cell) -> str:
    """As many parameters as HJ-Pruning-MAC kept at this budget."""
    return f"params={cell.of('hj_mac').point().params}"


def params_for_macs(cell: Cell) -> str:
    """As many parameters as HJ-Pruning-Size would keep with this share of the MACs, between its own runs."""
    known = [cell.of("hj_size", percent).point() for percent in cell.study.budgets]
    curve = sorted([(each.macs_kept, each.params_kept) for each in known] + [(1.0, 1.0), (0.0, 0.0)])
    wanted = cell.percent / 100
    for (low, small), (high, large) in pairwise(curve):
        if low <= wanted <= high:
            share = small + (large - small) * (wanted - low) / (high - low)
            return f"params={100 * share:.2f}%"
    raise AssertionError(f"{wanted} is not between 0 and 1")


def sections_of_uniform(cell: Cell) -> str:
    """The parameters that a uniform cut to this share of the MACs leaves in the frontend and the encoder."""
    model = load_pretrained(cell.dense)
    graph = trace(model)
    keep = select(model, graph, macs(cell), criterion="uniform", seconds=SECONDS)
    sections = graph.cost(keep, SECONDS).by_section
    return ",".join(f"{name}.params={sections[name].params}" for name in ("frontend", "encoder"))


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    label: str
    what: str
    overrides: tuple[str, ...] = ()
    budget: Callable[[Cell], str] = macs


def by_cuts(method: str, criterion: str) -> tuple[str, ...]:
    return f"pruning.method={method}", f"pruning.criterion={criterion}"


CONTROL, TORCH_PRUNING = "dense_longer", "torch_pruning"
METHODS = {
    CONTROL: Method(
        "dense, trained on",
        "nothing is cut: the dense model trains for the same number of steps more",
        by_cuts("one_shot", "uniform"),
    ),
    "hj_mac": Method("HJ-Pruning-MAC", "gates, one constraint on MACs, task loss"),
    "hj_mac_kd": Method(
        "HJ-Pruning-MAC + distillation",
        "the same, and L1, cosine and logits from the dense model beside half the task loss",
        ("distillation={losses: {l1: 1.0, cosine: 1.0, logits: 1.0}, task_weight: 0.5}",),
    ),
    "dphubert": Method(
        "DPHuBERT, two stages",
        "gates, L1 and cosine from the dense model alone (no task loss) in both stages, on a MACs budget; "
        "the head is the dense model's",
        ("distillation={losses: {l1: 1.0, cosine: 1.0}, task_weight: 0.0}",),
    ),
    "hj_sepsize": Method(
        "HJ-Pruning-SepSize",
        "gates, parameters of frontend and encoder as a uniform cut to this share of the MACs leaves them",
        budget=sections_of_uniform,
    ),
    "taylor": Method(
        "Taylor, iterative", "five cuts by first-order Taylor scores per MAC", by_cuts("iterative", "taylor")
    ),
    "magnitude": Method(
        "magnitude, iterative", "five cuts by magnitude per MAC", by_cuts("iterative", "magnitude")
    ),
    "random": Method("random, iterative", "five cuts at random", by_cuts("iterative", "random")),
    TORCH_PRUNING: Method(
        "torch-pruning, magnitude",
        "BasePruner with MagnitudeImportance, once, then the same training; weight norm folded, heads "
        "declared, whole heads only; the ratio is the smallest that meets the budget; it prunes the hidden "
        "size too",
        (*by_cuts("one_shot", "uniform"), "pruning.budget=macs=100%"),
    ),
    "hj_size": Method(
        "HJ-Pruning-Size, equal parameters",
        "gates, one constraint on parameters: as many as HJ-Pruning-MAC kept, whatever its MACs",
        budget=params_of_hj_mac,
    ),
    "hj_size_at": Method(
        "HJ-Pruning-Size, about equal MACs",
        "the same with the parameters at which, between its own runs, it would have this share of the MACs",
        budget=params_for_macs,
    ),
}
COMMAND = "python benchmarks/method_table.py --data PATH/TO/CORPORA --page docs/methods_compared.md"
SAID = """Test accuracy in %, of models that all start from the dense model of their seed and then
train for the same number of steps with the same two learning rates; nothing was chosen on test clips. "After
the cut" is before recovery, for methods that cut in rounds before the last round. MACs at 1 s, counted as the
reports do. Core seconds are the processor time of a cell on one busy core, loading and judging included.
"""
COMMON = (  # a model of which half the MACs, but a fifth of the parameters, are in the frontend
    "model.config.conv_dim=[32, 32, 48, 64, 64, 64]",
    "model.config.conv_kernel=[20, 4, 4, 3, 3, 2]",
    "model.config.conv_stride=[10, 2, 2, 2, 2, 2]",
    "model.config.num_feat_extract_layers=6",
    "model.config.hidden_size=64",
    "model.config.num_hidden_layers=2",
    "model.config.intermediate_size=256",
    "model.config.classifier_proj_size=64",
    "pruning.round_to=4",
    "batch_size=16",
    "data.group_by_length=true",
    "report={seconds: [1.0], iterations: 10, min_seconds: 0}",
)
STUDIES = {
    "digits": Study(
        "fsdd_digits",
        (30, 15, 60),
        (1, 2),
        ("dense.steps=1000", "pruning.steps=360", "pruning.recovery=1.5"),
        "Spoken digits (FSDD, 800 training clips, 4 speakers in all splits). Seed 0 is left out: its dense "
        "model had only 50.0% after its 1,000 steps (80.5% after 900 more), before anything was pruned.",
    ),
    "arabic": Study(
        "arabic_keywords",
        (30,),
        (0, 1),
        ("dense.steps=1000", "pruning.steps=360", "pruning.recovery=1.5"),
        "Arabic keywords (12 words, 648 training clips of 18 speakers; test speakers are others).",
        best_of="digits",
    ),
}


def cells_of(study: Study, out: Path, methods: Sequence[str]) -> Iterator[Cell]:
    """Yield the cells so that each comes after those that its budget follows from."""
    for seed in study.seeds:
        yield Cell(study, CONTROL, 100, seed, out)
        for method in methods:  # of the last one each budget needs all of hj_size
            if method != CONTROL:
                yield from (Cell(study, method, percent, seed, out) for percent in study.budgets)


def best_methods(study: Study, out: Path) -> list[str]:
    """Return the methods of the best mean at 30% of MACs, of those that were held to it."""
    held = [name for name in METHODS if name not in (CONTROL, "hj_size")]
    scores = {}
    for name in held:
        cells = [Cell(study, name, 30, seed, out) for seed in study.seeds]
        if all(cell.report.is_file() for cell in cells):
            scores[name] = sum(cell.point().value for cell in cells) / len(cells)
    return sorted(scores, key=lambda name: -scores[name])[:BEST]


def recipe_of(cell: Cell, data: Path, overrides: Sequence[str]) -> Recipe:
    budget = [] if cell.method == TORCH_PRUNING else [f"pruning.budget={METHODS[cell.method].budget(cell)}"]
    settings = [
        f"name={cell.folder.name}",
        f"data.path={data / cell.study.corpus}",
        f"seed={cell.seed}",
        f"output={cell.folder}",
        *COMMON,
        *cell.study.overrides,
        *METHODS[cell.method].overrides,
        *budget,
        *overrides,
        *([] if cell.method == CONTROL else [f"model.name={cell.dense}", "dense=null"]),
    ]
    return load_recipe(RECIPE, settings)


def run_cell(cell: Cell, data: Path, overrides: Sequence[str]) -> None:
    """Run one cell, and note the processor time that it took."""
    start = time.process_time()
    recipe = recipe_of(cell, data, overrides)
    if cell.method == TORCH_PRUNING:
        run_torch_pruning(cell, recipe)
    else:
        run(recipe, overwrite=True, say=say)
    (cell.folder / "cost.json").write_text(json.dumps({"core_seconds": time.process_time() - start}))


def run_torch_pruning(cell: Cell, recipe: Recipe) -> None:
    dense = load_pretrained(cell.dense)
    cut = cut_by_torch_pruning(load_pretrained(cell.dense), cell.percent / 100)
    trainer = trainer_for(recipe, cut, say)
    trainer.train()
    small = trainer.finalize()
    # What the trainer calls dense is the model that it was given.
    known = point_of(cell.of(CONTROL, 100).report, "", "", cell.seed)
    trainer.results["dense"] = {"dense_accuracy": known.dense or 0.0}
    made = report(
        small,
        dense,
        results=trainer.results,
        timing=Timing(
            seconds=recipe.report.seconds,
            threads=recipe.report.threads,
            min_iterations=recipe.report.iterations,
            min_seconds=recipe.report.min_seconds,
        ),
        facts=RunFacts(reference_seconds=SECONDS),
    )
    made.save(cell.report)


def cut_by_torch_pruning(model: nn.Module, fraction: float) -> nn.Module:
    """Return what its pruner makes of the model with the smallest ratio that keeps `fraction` of the MACs."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    model.set_attn_implementation("eager")  # type: ignore[operator]
    most = fraction * trace(model).cost(seconds=SECONDS).macs
    coarse = next(percent for percent in range(5, 100, 5) if ops(pruned(model, percent)) <= most)
    percent = next(p for p in range(coarse - 4, coarse + 1) if ops(pruned(model, p)) <= most)
    say(f"torch-pruning: a ratio of {percent}%")
    made = pruned(model, percent)
    made.set_attn_implementation("sdpa")  # type: ignore[operator]
    return made


def pruned(model: nn.Module, percent: int) -> nn.Module:
    model = copy.deepcopy(model)
    backbone = backbone_of(model)[1]  # type: ignore[arg-type]
    pruner = tp.pruner.BasePruner(
        model,
        torch.randn(1, round(SECONDS * 16_000)),
        importance=tp.importance.MagnitudeImportance(p=2),
        pruning_ratio=percent / 100,
        ignored_layers=[model.classifier],
        num_heads=declared_heads(backbone, FAMILIES["hubert"]),
        prune_num_heads=True,
        prune_head_dims=False,  # with them, what is left of a head fits no head size and the model fails
        head_pruning_ratio=percent / 100,
    )
    pruner.step()
    return model


def ops(model: nn.Module) -> int:
    return trace(model).cost(seconds=SECONDS).macs


def for_validation(data: Path, out: Path, corpus: str) -> Path:
    """Return a folder of links in which `test` is the validation split."""
    folder = out / "validation-data" / corpus
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in (("train", "train"), ("validation", "validation"), ("test", "validation")):
        if not (folder / name).exists():
            (folder / name).symlink_to((data / corpus / source).resolve())
    return folder.parent


def results_of(name: str, out: Path, data: Path) -> StudyResults:
    study, results = STUDIES[name], []
    for seed in study.seeds:
        cells = [Cell(study, CONTROL, 100, seed, out / name)]
        cells += [
            Cell(study, method, percent, seed, out / name)
            for percent in study.budgets
            for method in METHODS
            if method != CONTROL
        ]
        for cell in cells:
            if cell.report.is_file():
                spent = json.loads((cell.folder / "cost.json").read_text())["core_seconds"]
                results.append(Result(cell.method, cell.percent, seed, cell.point(), spent))
    judged = len((data / study.corpus / "test" / "metadata.csv").read_text().splitlines()) - 1
    return StudyResults(name, study.setting, judged, results)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--out", type=Path, default=Path("out/methods"))
    parser.add_argument("--page", type=Path, help="writes the tables as Markdown, and the plot beside them")
    parser.add_argument("--study", choices=list(STUDIES), nargs="*", default=list(STUDIES))
    parser.add_argument("--methods", choices=list(METHODS), nargs="*", help="only these")
    parser.add_argument("--budgets", type=int, nargs="*")
    parser.add_argument("--seeds", type=int, nargs="*")
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--set", nargs="*", default=[], help="overrides of every recipe, key.sub=value")
    parser.add_argument("--no-runs", action="store_true", help="only writes the page of what is there")
    args = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(1)
    failed = 0
    for name in args.study:
        study = replace(
            STUDIES[name],
            budgets=tuple(args.budgets or STUDIES[name].budgets),
            seeds=tuple(STUDIES[name].seeds if args.seeds is None else args.seeds),
        )
        out = args.out / name
        before = STUDIES[name].best_of
        methods = args.methods or (best_methods(STUDIES[before], args.out / before) if before else METHODS)
        data = for_validation(args.data, args.out, study.corpus) if args.validation else args.data
        for cell in cells_of(study, out, list(methods)) if not args.no_runs else ():
            if cell.report.is_file():
                continue
            say(f"{name}: {METHODS[cell.method].label}, {cell.percent}%, seed {cell.seed}")
            try:
                run_cell(cell, data, args.set)
            except PruneError as error:
                failed += 1
                say(f"failed: {error}")
        if out.is_dir():
            write_sweep_page(out, results_of(name, args.out, args.data))
    if args.page and not args.validation:
        studies = [results_of(name, args.out, args.data) for name in STUDIES]
        labels = {name: method.label for name, method in METHODS.items()}
        notes = {name: method.what for name, method in METHODS.items()}
        write_page(args.page, COMMAND, studies, labels, notes, SAID)
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
