"""The recipe of each cell: a student without labels, a model that is fine-tuned, or one that is pruned."""

import csv
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import HubertConfig

from nano.cells import FROZEN, PRUNED, SCRATCH, TASKS, TEACHER, Cell
from prune_ssl.recipes import Recipe, make_recipe
from prune_ssl.writing import new_folder

UNLABELLED = ("speech_pool", "speechocean_full", "arabic_commands", "an4_asr", "coffee_intents")
"""The corpora whose training clips students hear."""
STUDENT_STEPS, STUDENT_BATCH, STUDENT_RATE = 2_000, 24, 1e-3
CROP_SECONDS = 2.0
BUDGET = "params=25%"
Settings = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """Where the teacher, the corpora and the runs are, and how long everything trains."""

    teacher: Path
    data: Path
    out: Path
    validation: bool = False
    effort: float = 1.0
    """All numbers of steps are multiplied by it."""

    @property
    def split(self) -> str:
        """The split that rows are judged on."""
        return "validation" if self.validation else "test"

    def steps(self, count: int) -> int:
        """Return a number of steps."""
        return max(1, round(count * self.effort))

    def folder(self, cell: Cell) -> Path:
        """Return the folder of a cell."""
        return self.out / (cell.task or "students") / cell.name

    def model(self, cell: Cell) -> Path:
        """Return the folder of the model that a cell makes."""
        return self.folder(cell) / "run" / "model"

    def start(self, cell: Cell) -> Path:
        """Return the folder of the model that a cell starts from."""
        return self.model(cell.needs[0]) if cell.needs else self.teacher

    @property
    def unlabelled(self) -> Path:
        """The folder that lists the clips that students hear."""
        return self.out / "unlabelled"


def list_unlabelled(setup: Setup) -> None:
    """Write the lists of the clips that students hear, unless they are there. No test clip is among them."""
    if setup.unlabelled.is_dir():
        return
    with new_folder(setup.unlabelled) as new:
        for split, corpora in (("train", UNLABELLED), ("validation", ("speechocean_full",))):
            (new / split).mkdir()
            with (new / split / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(["file_name"])
                for corpus in corpora:
                    source = setup.data / corpus / split
                    if source.is_dir():
                        place = os.path.relpath(source.resolve(), setup.unlabelled.resolve() / split)
                        rows.writerows([f"{place}/{name}"] for name in _names(source))


def _names(folder: Path) -> list[str]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return [row["file_name"] for row in csv.DictReader(file)]


def recipe_of(cell: Cell, setup: Setup) -> Recipe:
    """Return the recipe of a cell. A teacher is not trained before its tasks, nor is a random model."""
    if not cell.task:
        return _student(cell, setup)
    return _pruned(cell, setup) if cell.method == PRUNED else _fine_tuned(cell, setup)


# -- students


def thirds(config: HubertConfig) -> list[int]:
    """Return the layers at the thirds of the depth, as 4, 8 and 12 of 12 are."""
    depth = config.num_hidden_layers
    return sorted({max(1, round(depth * part / 3)) for part in (1, 2, 3)})


def first_layers(config: HubertConfig) -> Settings:
    """DistilHuBERT's student: the first sixth of the layers."""
    return {
        "layers": max(1, round(config.num_hidden_layers / 6)),
        "projection_norm": False,
        "mask_embedding": False,
    }


def thin(config: HubertConfig, neurons: float = 0.4, **more: Any) -> Settings:
    """The student of STaR and ARM: as deep, half as wide. The teacher's frontend is thin already."""
    ffn = max(8, 8 * round(neurons * config.intermediate_size / 8))
    return {"hidden_size": config.hidden_size // 2, "intermediate_size": ffn, "mask_embedding": False} | more


def heads_of(config: HubertConfig, **more: float) -> Settings:
    """DistilHuBERT's losses, and more."""
    return {
        "losses": {"l1": 1.0, "log_cosine": 1.0, **more},
        "projection": "heads",
        "layers": thirds(config),
    }


def masking(config: HubertConfig) -> Settings:
    """ARM's loss: every layer, the last one with ten times the weight."""
    depth = config.num_hidden_layers
    return {
        "losses": {"masking": 1.0},
        "projection": "per_layer",
        "layers": list(range(1, depth + 1)),
        "layer_weights": [0.1] * (depth - 1) + [1.0],
        "mask_probability": 0.4,  # the published value for 100 h
    }


def matching(config: HubertConfig) -> Settings:
    """The same layers as STaR's, matched one by one."""
    return {
        "losses": {"l1": 1.0, "cosine": 1.0},
        "projection": "per_layer",
        "layers": list(range(1, config.num_hidden_layers + 1)),
    }


def relations(*names: str) -> Callable[[HubertConfig], Settings]:
    """Return STaR's losses by their names."""
    return lambda config: {"losses": dict.fromkeys(names, 1.0)}


SHAPES: Mapping[str, Callable[[HubertConfig], Settings]] = {
    "distilhubert": first_layers,
    "robust": first_layers,
    "arm": lambda config: thin(config, 0.44, mask_embedding=True, reuse="even"),
    "mask": lambda config: thin(config, mask_embedding=True),
    **dict.fromkeys(
        ("layer_matching", "star", "star_layer", "star_intra", "star_attention", "star_all"), thin
    ),
}
LOSSES: Mapping[str, Callable[[HubertConfig], Settings]] = {
    "distilhubert": heads_of,
    "robust": lambda config: heads_of(config, enhancement=2.0) | {"enhancement_units": 64},
    "layer_matching": matching,
    "star": relations("layer_gram", "intra_gram"),
    "star_layer": relations("layer_gram"),
    "star_intra": relations("intra_gram"),
    "star_attention": relations("attention"),
    "star_all": relations("layer_gram", "intra_gram", "attention"),
    "arm": masking,
    "mask": masking,
    "dphubert": lambda config: {
        "losses": {"l1": 1.0, "cosine": 1.0},
        "projection": "shared",
        "layers": [0, *thirds(config)],
    },
}


def _student(cell: Cell, setup: Setup) -> Recipe:
    if cell.method in (TEACHER, SCRATCH):
        raise ValueError(f"{cell.name}: it is not trained")
    config = HubertConfig.from_pretrained(setup.teacher)
    data: Settings = {
        "path": str(setup.unlabelled),
        "outside": True,
        "augment": False,
        "max_seconds": 12.0,
        "crop_seconds": CROP_SECONDS,
    }
    if cell.method == "robust":
        noise, rooms = (str(setup.data / name / "train") for name in ("noise", "rirs"))
        data["corruption"] = {"noise": noise, "rirs": rooms, "snr_db": [0, 20], "order": "noise_first"}
    made = _shared(cell, setup, "representation", data) | {
        "batch_size": STUDENT_BATCH,
        "distillation": LOSSES[cell.method](config) | {"task_weight": 0},
    }
    steps = setup.steps(STUDENT_STEPS)
    if cell.method == "dphubert":
        first = max(1, round(2 * steps / 3))
        made["pruning"] = {
            "preset": "hj_pruning",
            "budget": BUDGET,
            "steps": first,
            "learning_rate": STUDENT_RATE,
            "recovery": 0.5,
            "round_to": 1,
            "seconds": CROP_SECONDS,
        }
    else:
        made["student"] = SHAPES[cell.method](config) | {
            "steps": steps,
            "learning_rate": STUDENT_RATE,
            "seconds": CROP_SECONDS,
        }
    return make_recipe(made, cell.name)


# -- tasks


def _fine_tuned(cell: Cell, setup: Setup) -> Recipe:
    """The model with a new head, trained on the task: as a whole, or the head alone."""
    task = TASKS[cell.task]
    dense = {"steps": setup.steps(task.steps), "learning_rate": task.learning_rate}
    if cell.mode == FROZEN:
        dense |= {"freeze": "backbone", "learning_rate": 4 * task.learning_rate}
    made = _shared(cell, setup, task.task, _data(cell, setup))
    made["model"] |= {"allow_pruned": True, "config": dict(task.config)}
    return make_recipe(made | {"dense": dense, "batch_size": task.batch_size}, cell.name)


def _pruned(cell: Cell, setup: Setup) -> Recipe:
    """The fine-tuned teacher, pruned on the task and distilled from itself: gates, then recovery."""
    task = TASKS[cell.task]
    steps = setup.steps(task.steps)
    made = _shared(cell, setup, task.task, _data(cell, setup))
    answers = "embedding" if task.task == "speaker_verification" else "logits"
    made["distillation"] = {"losses": {"l1": 1.0, "cosine": 1.0, answers: 1.0}, "task_weight": 0.5}
    made["pruning"] = {
        "budget": BUDGET,
        "steps": steps,
        "learning_rate": task.learning_rate,
        "recovery": 1.0,
        "seconds": task.seconds,
    }
    return make_recipe(made | {"batch_size": task.batch_size}, cell.name)


def _data(cell: Cell, setup: Setup) -> Settings:
    task = TASKS[cell.task]
    path = str(setup.data / task.corpus)
    return {"path": path, "target": task.target, "judged": setup.split, **task.data}


def _shared(cell: Cell, setup: Setup, task: str, data: Settings) -> Settings:
    seconds = TASKS[cell.task].seconds if cell.task else CROP_SECONDS
    return {
        "name": cell.name,
        "task": task,
        "model": {"name": str(setup.start(cell))},
        "data": data,
        "report": {"seconds": [seconds], "iterations": 5, "min_seconds": 0.0},
        "seed": cell.seed,
        "checkpoint_steps": 200,
        "output": str(setup.folder(cell) / "run"),
    }
