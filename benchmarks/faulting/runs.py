"""The experiments: whole runs and replacements of a model, each disturbed at one step and then repaired."""

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import yaml
from safetensors import SafetensorError
from transformers import (
    AutoModelForAudioClassification,
    HubertConfig,
    HubertForSequenceClassification,
    Trainer,
)

from faulting.forks import KILLED, REFUSED, TERMINATED, forked, steps_of
from prune_ssl import load_pretrained, save_pretrained
from prune_ssl.cli.app import app
from prune_ssl.errors import PruneError
from prune_ssl.pipeline import run
from prune_ssl.recipes import make_recipe
from prune_ssl.training import ResumableTrainer
from prune_ssl.writing import steps

TINY = {
    "conv_dim": [8] * 7,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
    "hidden_dropout": 0.1,
    "layerdrop": 0.0,
    "mask_time_prob": 0.0,
}
SETTINGS = {
    "steps": 6,
    "learning_rate": 1e-3,
    "recovery": 0.5,
    "seconds": 1.0,
    "round_to": 2,
}
PRUNING = SETTINGS | {"budget": "macs=70%"}
METHODS: dict[str, dict[str, Any]] = {
    "gates": {"dense": {"steps": 4, "learning_rate": 1e-3}, "pruning": PRUNING},
    "progressive": {"pruning": SETTINGS | {"budgets": ["80%", "60%"]}},
    "one_shot": {"pruning": PRUNING | {"method": "one_shot"}},
    "iterative": {"pruning": PRUNING | {"method": "iterative", "criterion": "taylor", "rounds": 2}},
    "student": {
        "student": {"layers": 1, "steps": 4, "learning_rate": 1e-3, "seconds": 1.0},
        "distillation": {"losses": {"l1": 1.0}, "layers": [1]},
    },
}
ENDS = {
    "kill": (KILLED,),
    "term": (TERMINATED,),
    "clock": (0,),
    "enospc": (0, REFUSED),
    "erofs": (0, REFUSED),
}
"""The exit statuses that a disturbed process may have."""
TRAIN = "train"
"""The kind of a step of training, beside those of writing."""


@dataclass
class Outcome:
    """The outcome of one experiment."""

    step: int
    kind: str
    path: str
    status: int
    faults: list[str] = field(default_factory=list)
    """`lost`, `refused`, `different`, `stray`, `traceback`, each with what was found."""

    @property
    def part(self) -> str:
        """In which part of a run it was disturbed."""
        if self.kind == TRAIN:
            return "training"
        if self.kind in ("unlink", "drop") or ".gone-" in self.path:
            return "deleting"
        return "saving"


def count_training_steps() -> None:
    """Make every step of training a numbered point as well."""
    plain = Trainer.training_step

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        steps.point(TRAIN, Path(self.args.output_dir))
        return plain(self, *args, **kwargs)

    Trainer.training_step = counted  # type: ignore[method-assign]


def write_tones(folder: Path) -> None:
    """Write a corpus of two classes of tones."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("validation", 4), ("test", 4)):
        (folder / split).mkdir(parents=True)
        rows = ["file_name,label"]
        for index in range(count):
            time = np.arange(4000) / 16_000
            wave = np.sin(2 * np.pi * (1500 if index % 2 else 300) * time) * 0.3
            soundfile.write(
                folder / split / f"{index}.wav", wave + 0.01 * generator.standard_normal(4000), 16_000
            )
            rows.append(f"{index}.wav,{'high' if index % 2 else 'low'}")
        (folder / split / "metadata.csv").write_text("\n".join(rows) + "\n")


class WholeRuns:
    """Runs of one method in folders of their own, compared with one that nothing disturbs."""

    def __init__(self, method: str, place: Path) -> None:
        self.place = place / method
        self.place.mkdir(parents=True)
        write_tones(self.place / "corpus")
        self.settings = {
            "name": method,
            "model": {"family": "hubert", "config": TINY},
            "data": {"path": str(self.place / "corpus")},
            "report": {"seconds": [0.5], "iterations": 3, "min_seconds": 0},
            "batch_size": 4,
            "checkpoint_steps": 2,
            **METHODS[method],
        }
        whole = self.place / "whole"
        whole.mkdir()
        self.steps = self._first_run(whole)
        self.wanted, self.files = made_in(whole / "out"), names_in(whole)

    def _first_run(self, folder: Path) -> list[tuple[str, str]]:
        """Run undisturbed, and return the steps."""
        return steps_of(lambda: self._run(folder, resume=False), self.place / "trace")

    def _run(self, folder: Path, resume: bool = True) -> None:
        settings = yaml.safe_load(yaml.safe_dump(self.settings)) | {"output": str(folder / "out")}
        run(make_recipe(settings), resume=resume)

    def _run_again(self, folder: Path) -> None:
        """Resume where nothing is left to be trained."""

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise AssertionError("a finished run trains again")

        ResumableTrainer.train = refuse  # type: ignore[method-assign]
        self._run(folder)

    def disturbed(self, how: str, step: int) -> Outcome:
        """Disturb a run at a step, resume it, resume it again, and compare.

        Args:
            how: a key of `ENDS`, or `twice`: the resumed run is killed as well, in its first steps.
            step: counted from 1.
        """
        twice, how = how == "twice", how.replace("twice", "kill")
        folder, said = self.place / f"{how}-{step}", self.place / f"said-{how}-{step}"
        folder.mkdir()
        kind, path = self.steps[step - 1]
        shown = path.replace(f"{self.place / 'whole'}/", "")
        outcome = Outcome(step, kind, shown, forked(lambda: self._run(folder), f"{how}@{step}", said))
        if outcome.status not in ENDS[how]:
            outcome.faults.append(f"traceback {said.read_text()[-1500:]}")
        if outcome.status == REFUSED and len(said.read_text().strip().splitlines()[-1]) > 600:
            outcome.faults.append(f"traceback {said.read_text()[-1500:]}")
        for name, found in made_in(folder / "out").items():
            if found != self.wanted[name]:
                outcome.faults.append(f"lost {name}")
        if twice:
            second = forked(lambda: self._run(folder), f"kill@{1 + step % 23}", said)
            if second not in (KILLED, 0):
                outcome.faults.append(f"refused {said.read_text()[-1500:]}")
        for again in (self._run, self._run_again):
            if not outcome.faults and forked(lambda: again(folder), "", said) != 0:  # noqa: B023
                outcome.faults.append(f"refused {said.read_text()[-1500:]}")
        if not outcome.faults:
            found_in_the_end = made_in(folder / "out")
            outcome.faults += [
                f"different {name}"
                for name, wanted in self.wanted.items()
                if found_in_the_end.get(name) != wanted
            ]
            outcome.faults += [f"stray {name}" for name in sorted(names_in(folder) ^ self.files)]
        shutil.rmtree(folder)
        return outcome


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def made_in(out: Path) -> dict[str, str]:
    """Return what a run has finished, each thing with what stands for it: weights, plan, results."""
    made = {}
    for path in sorted(out.glob("*/model.safetensors")):
        made[f"{path.parent.name}/weights"] = hashlib.sha256(path.read_bytes()).hexdigest()
        plan = path.with_name("pruning_plan.json")
        made[f"{path.parent.name}/plan"] = plan.read_text() if plan.exists() else ""
    for path in sorted(out.glob("report*.json")):
        made[f"{path.name}/results"] = json.dumps(_without_speed(json.loads(path.read_text())["results"]))
    return made


def _without_speed(results: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    timed = ("runtime", "per_second")
    return {
        stage: {key: value for key, value in found.items() if not key.endswith(timed)}
        for stage, found in results.items()
    }


class Replacements:
    """`prune --overwrite` into a folder that holds a model already."""

    def __init__(self, place: Path) -> None:
        self.place = place / "overwrite"
        self.dense = place / "dense"
        torch.manual_seed(0)
        save_pretrained(HubertForSequenceClassification(HubertConfig(**TINY)), self.dense)
        self.place.mkdir(parents=True)
        self.folder = self.place / "model"
        self._prune("80%")
        self.old = _weights(self.folder)
        self.steps = steps_of(lambda: self._prune("60%"), self.place.with_suffix(".trace"))
        self._prune("60%")
        self.new = _weights(self.folder)
        assert self.old != self.new

    def _prune(self, budget: str) -> None:
        asked = ["prune", str(self.dense), str(self.folder), f"--budget=macs={budget}", "--round-to=1"]
        status = app([*asked, "--seconds=1", "--overwrite"], standalone_mode=False)
        if status:
            raise SystemExit(status)

    def disturbed(self, how: str, step: int) -> Outcome:
        """Disturb a replacement, see which model there is, and replace it again."""
        self._prune("80%")
        kind, path = self.steps[step - 1]
        said = self.place.with_suffix(".said")
        status = forked(lambda: self._prune("60%"), f"{how}@{step}", said)
        outcome = Outcome(step, kind, path.replace(f"{self.place}/", ""), status)
        if status != KILLED if how == "kill" else "Traceback" in said.read_text():
            outcome.faults.append(f"traceback {said.read_text()[-1500:]}")
        try:
            if _weights(self.folder) not in (self.old, self.new):
                outcome.faults.append("different weights")
            load_pretrained(self.folder)
            AutoModelForAudioClassification.from_pretrained(self.folder)
        except (OSError, PruneError, SafetensorError) as error:
            outcome.faults.append(f"lost {error}")
        self._prune("60%")
        outcome.faults += [
            f"stray {name}" for name in sorted({p.name for p in self.place.iterdir()} - {"model"})
        ]
        return outcome


def _weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
