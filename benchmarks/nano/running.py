"""Run one cell: make its model, judge it on every set of clips, and leave its row in its folder."""

import csv
import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import soundfile
import torch
from methods.running import versions
from transformers import AutoFeatureExtractor, HubertConfig, HubertModel

from nano.cells import CLEAN, ROBUST, SCRATCH, TASKS, Cell, Task
from nano.recipes import Setup, list_unlabelled, recipe_of
from nano.rows import Row, read_row
from prune_ssl.cli.console import say
from prune_ssl.data import SAMPLE_RATE_HZ, Clip, Corruption
from prune_ssl.models.filterbank import pass_on_, start_as_filterbank_
from prune_ssl.pipeline import JudgingConfig, evaluate, run
from prune_ssl.probing.conditions import conditions_of
from prune_ssl.writing import new_folder, write_text

ROW = "row.json"
SNR_DB = (10.0, 0.0)
TRIALS = "sv_trials.csv"


def run_cell(cell: Cell, setup: Setup) -> None:
    """Run a cell; one that was stopped goes on from its last checkpoint."""
    busy = time.process_time()
    if not cell.task and cell.method == SCRATCH:
        make_scratch(cell, setup)
        return
    if not cell.task:
        list_unlabelled(setup)
    outcome = run(recipe_of(cell, setup), say=say, resume=True)
    if not cell.task:
        return
    task = TASKS[cell.task]
    judged = {name: judge(setup.model(cell), task, corpus, setup) for name, corpus in clips_of(cell, setup)}
    measured = json.loads((outcome.folder / "report.json").read_text(encoding="utf-8"))["model"][
        "measurement"
    ]
    row = Row(
        task=cell.task,
        method=cell.method,
        mode=cell.mode,
        seed=cell.seed,
        split=setup.split,
        metric=task.metric,
        results={name: dict(each.results) for name, each in judged.items()},
        outcomes={name: each.outcomes.to_data() for name, each in judged.items() if each.outcomes},
        macs=next(iter(measured["macs"].values())),
        params=measured["params"],
        latency_ms=measured["latency"][0]["median_ms"],
        core_seconds=round(time.process_time() - busy, 1),
        versions=versions(),
    )
    write_text(setup.folder(cell) / ROW, json.dumps({"effort": setup.effort, "row": asdict(row)}))


def found_row(cell: Cell, setup: Setup) -> Row | None:
    """Return the row that a finished cell left, or None.

    Raises:
        ValueError: the cell was run with another effort or judged on another split.
    """
    path = setup.folder(cell) / ROW
    if not cell.task or not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    row = read_row(data["row"])
    if (data["effort"], row.split) != (setup.effort, setup.split):
        raise ValueError(f"{path.parent} was run with effort {data['effort']} on {row.split}: give --out.")
    return row


def has_model(cell: Cell, setup: Setup) -> bool:
    """Whether the model of a cell is there."""
    return (setup.model(cell) / "model.safetensors").is_file()


def make_scratch(cell: Cell, setup: Setup) -> None:
    """Write a model of the teacher's shape with mel filters and random weights."""
    torch.manual_seed(cell.seed)
    model = HubertModel(HubertConfig.from_pretrained(setup.teacher))
    start_as_filterbank_(model)
    pass_on_(model)
    with new_folder(setup.model(cell), replace=True) as new:
        model.save_pretrained(new)
        AutoFeatureExtractor.from_pretrained(setup.teacher).save_pretrained(new)


# -- judging


def judge(model: Path, task: Task, corpus: Path, setup: Setup) -> Any:
    """Judge a model on the clips of a corpus."""
    config = JudgingConfig(task=task.task, target=task.target, max_seconds=task.data.get("max_seconds"))
    return evaluate(model, corpus, setup.split, config)


def clips_of(cell: Cell, setup: Setup) -> list[tuple[str, Path]]:
    """Return the corpora that a cell is judged on: its own, another, and its own under conditions."""
    task = TASKS[cell.task]
    found = [(CLEAN, setup.data / task.corpus)]
    if task.also:
        found.append((task.also, setup.data / task.also))
    if task.noisy and cell.method in ROBUST:
        found += [(name, corrupted(task, name, each, setup)) for name, each in conditions(setup).items()]
    return found


def conditions(setup: Setup) -> dict[str, Corruption]:
    """Return the conditions, from recordings that no student has heard."""
    noise, rooms = (str(setup.data / name / "validation") for name in ("noise", "rirs"))
    return {
        **conditions_of(noise, None, SNR_DB),
        **conditions_of(None, rooms, ()),
        **conditions_of(noise, rooms, SNR_DB[:1]),
    }


def corrupted(task: Task, name: str, corruption: Corruption, setup: Setup) -> Path:
    """Return a copy of a corpus' judged clips under a condition, the same for every model."""
    source = setup.data / task.corpus
    folder = setup.out / "conditions" / setup.split / name.replace(" ", "_").replace(",", "") / task.corpus
    if folder.is_dir():
        return folder
    with new_folder(folder) as new:
        copy = new / setup.split
        copy.mkdir()
        with (source / setup.split / "metadata.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        torch.manual_seed(0)
        for row in rows:
            path = source / setup.split / row["file_name"]
            heard = corruption(Clip(path, "", soundfile.info(path).duration).waveform())
            place = copy / row["file_name"]
            place.parent.mkdir(parents=True, exist_ok=True)
            # The name stays, for lists of trials; FLAC in an .ogg file is told by its content.
            with place.open("wb") as file:
                soundfile.write(file, heard, SAMPLE_RATE_HZ, format="FLAC")
        shutil.copyfile(source / setup.split / "metadata.csv", copy / "metadata.csv")
        if (source / TRIALS).is_file():
            shutil.copyfile(source / TRIALS, new / TRIALS)
    return folder
