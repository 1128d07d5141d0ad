"""One sweep on each engine, with workers that are killed, and the cost of an engine for each trial.

    python benchmarks/sweep_engines.py --trials 24                # the table of docs/many_machines.md
    python benchmarks/sweep_engines.py --trials 24 --only ray     # one engine; `--out` keeps what is finished

The trials train a tiny HuBERT on tones for seconds. `local` runs them in this process. `ray` runs them on a
cluster of two nodes on this machine, of which one is killed in the middle. `shards` are four processes,
forked from this one, that work as `prune-ssl sweep --shard I/4` does. Two of them are killed with SIGKILL
once and started again. Models and figures must be those of `local`, bit for bit. `cost` gives each engine
trials that train nothing, and takes the time.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}

import torch
import yaml
from faulting.forks import begin
from faulting.runs import TINY, write_tones

from prune_ssl.cli.console import quiet_libraries
from prune_ssl.recipes import load_recipe
from prune_ssl.sweeping import Engine, OnRay, Shard, Trial, attempts, sweep, trials

METHODS = ("one_shot/magnitude", "one_shot/taylor")
BUDGETS = ("80%", "70%", "60%", "50%")
ENGINES = ("local", "ray", "shards", "cost")
SHARDS = 4
REPEATS = 3


@dataclass(frozen=True)
class Place:
    """The folder of the benchmark, with its recipe and one folder for each engine."""

    root: Path
    cells: list[Trial]

    @property
    def recipe(self) -> Path:
        return self.root / "tiny.yaml"

    def finished(self, engine: str) -> int:
        """Return the number of trials of an engine that have a report."""
        return len(list((self.root / engine).glob("*/report.json")))


def main() -> int:
    """Run the chosen engines. The exit status is 1 if a trial is missing or is not equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=24, help="rounded up to whole seeds of 8")
    parser.add_argument("--only", choices=ENGINES, action="append", help="repeatable (default: all)")
    parser.add_argument("--out", type=Path, default=Path("out/sweep_engines"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    seeds = range(-(-arguments.trials // (len(METHODS) * len(BUDGETS))))
    place = Place(arguments.out.resolve(), trials(BUDGETS, METHODS, seeds)[: arguments.trials])
    prepare(place)
    if place.finished("local") < len(place.cells):
        local(place)
    wrong = 0
    for engine, run in (("ray", on_ray), ("shards", on_shards)):
        if engine in (arguments.only or [engine]):
            killed = run(place) if place.finished(engine) < len(place.cells) else "finished before"
            differ = different(place, engine)
            wrong += len(differ)
            done = f"{place.finished(engine)} of {len(place.cells)} done"
            print(f"{engine}: {done}, {len(differ)} not equal to local; {killed}", flush=True)
    if "cost" in (arguments.only or ["cost"]):
        cost(place)
    return int(bool(wrong))


def prepare(place: Place) -> None:
    """Write the corpus and the recipe."""
    if not place.recipe.is_file():
        write_tones(place.root / "corpus")
        settings = {
            "name": "tiny",
            "model": {"family": "hubert", "config": TINY},
            "data": {"path": str(place.root / "corpus")},
            "dense": {"steps": 3, "learning_rate": 1e-3},
            "pruning": {
                "budget": "macs=80%",
                "method": "one_shot",
                "steps": 3,
                "learning_rate": 1e-3,
                "recovery": 1.0,
                "seconds": 1.0,
                "round_to": 2,
            },
            "report": {"seconds": [0.5], "iterations": 3, "min_seconds": 0},
            "batch_size": 4,
            "checkpoint_steps": 1,
            "output": str(place.root / "alone"),
        }
        place.recipe.write_text(yaml.safe_dump(settings))


def local(place: Place) -> None:
    """Run the trials one after another in this process."""
    began, busy = time.monotonic(), time.process_time()
    sweep(load_recipe(place.recipe), place.cells, place.root / "local", lambda line: None)
    count = len(place.cells)
    each = f"{(time.process_time() - busy) / count:.2f} processor seconds"
    done = f"{place.finished('local')} of {count} done"
    print(f"local: {done}; a trial took {each} ({(time.monotonic() - began) / count:.2f} s)", flush=True)


def on_ray(place: Place) -> str:
    """Run the trials on two nodes, and kill one when half of the trials are done. Return what was killed."""
    import ray

    cluster, lost = two_nodes()
    at = list[int]()

    def lose() -> None:
        while place.finished("ray") < len(place.cells) // 2:
            time.sleep(0.1)
        at.append(place.finished("ray"))
        cluster.remove_node(lost, allow_graceful=False)

    thread = threading.Thread(target=lose, daemon=True)
    thread.start()
    try:
        sweep(load_recipe(place.recipe), place.cells, place.root / "ray", print, OnRay())
        alive = sum(node["Alive"] for node in ray.nodes())
    finally:
        ray.shutdown()
        cluster.shutdown()
    return f"one of two nodes killed after {at[0]} trials, {alive} left"


def two_nodes() -> tuple[Any, Any]:
    """Start a Ray cluster of two nodes with one processor each, and connect to it. Return it and a node."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    return cluster, node


def on_shards(place: Place) -> str:
    """Run the trials in four shards. Kill two of them once, and start them again. Return what was killed."""
    workers = {index: start_shard(place, index) for index in range(1, SHARDS + 1)}
    count, killed = len(place.cells), list[str]()
    for index, share in ((2, 1 / 4), (3, 1 / 2)):
        while place.finished("shards") < share * count:
            time.sleep(0.1)
        trial = wait_for_trial(place, index)
        os.kill(workers[index], signal.SIGKILL)
        os.waitpid(workers[index], 0)
        killed.append(f"shard {index} after {place.finished('shards')} trials, {trial}")
        workers[index] = start_shard(place, index)
    ends = {os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers.values()}
    return f"SIGKILL for {' and '.join(killed)}; exit status of all in the end: {sorted(ends)}"


def start_shard(place: Place, index: int) -> int:
    """Start a worker, and return the number of its process. What it prints is added to its log."""

    def work() -> None:
        with log_of(place, index).open("a", buffering=1) as log:
            out = place.root / "shards"
            sweep(
                load_recipe(place.recipe),
                place.cells,
                out,
                lambda line: print(line, file=log),
                Shard(index, SHARDS),
            )

    return begin(work, "", None)


def log_of(place: Place, index: int) -> Path:
    return place.root / f"shard-{index}.log"


def wait_for_trial(place: Place, index: int, most_seconds: float = 60.0) -> str:
    """Wait until a shard is in the middle of a trial, and say whether it is."""
    began = time.monotonic()
    while time.monotonic() - began < most_seconds:
        lines = [line for line in log_of(place, index).read_text().splitlines() if line.startswith("[")]
        if lines:
            number = int(lines[-1].partition("/")[0].removeprefix("["))
            folder = place.root / "shards" / place.cells[number - 1].name
            if folder.is_dir() and not (folder / "report.json").is_file():
                return "in the middle of one"
        time.sleep(0.01)
    return "between two"


def different(place: Place, engine: str) -> list[str]:
    """Return the trials whose weights, plan or figures are not those of the local sweep."""
    return [
        cell.name
        for cell in place.cells
        if made_by(place.root / engine / cell.name) != made_by(place.root / "local" / cell.name)
    ]


def made_by(folder: Path) -> list[str]:
    """Return what a trial has made: a checksum of its weights, its plan, and its figures."""
    model = folder / "model"
    try:
        weights = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
        figures = json.loads((folder / "report.json").read_text())["results"]
        return [weights, (model / "pruning_plan.json").read_text(), json.dumps(figures)]
    except OSError as error:
        return [f"{folder}: {error}"]


def cost(place: Place) -> None:
    """Measure the time of an engine for each trial, with trials that only copy a report."""
    empty = Empty(str(place.root / "local"))
    cluster, _ = two_nodes()
    engines: dict[str, Engine] = {
        "local": Shard(),
        "one shard of 4": Shard(1, SHARDS),
        "ray": OnRay(prepare=empty),
    }
    taken: dict[str, list[float]] = {name: [] for name in engines}
    try:
        for _ in range(REPEATS + 1):
            for name, engine in engines.items():
                taken[name].append(time_of(place, engine, empty))
    finally:
        import ray

        ray.shutdown()
        cluster.shutdown()
    for name, seconds in taken.items():
        each = sorted(1000 * one / len(place.cells) for one in seconds[1:])  # Ray starts workers in the first
        spread = f"{each[0]:.0f} to {each[-1]:.0f} in {REPEATS} sweeps"
        print(f"cost of {name}: {median(each):.0f} ms a trial ({spread}); the first sweep {seconds[0]:.1f} s")


def time_of(place: Place, engine: Engine, empty: Callable[[], None]) -> float:
    """Return the seconds of a sweep whose trials train nothing."""
    out, run = place.root / "cost", attempts.run
    empty()
    try:
        began = time.monotonic()
        sweep(load_recipe(place.recipe), place.cells, out, lambda line: None, engine)
        return time.monotonic() - began
    finally:
        attempts.run = run
        shutil.rmtree(out)


@dataclass(frozen=True)
class Empty:
    """Replaces the run of a trial in this process by a copy of the folder of a finished one."""

    finished: str
    """The folder of a sweep that has all trials."""

    def __call__(self) -> None:
        from prune_ssl.sweeping import attempts

        def copied(recipe: Any, **settings: object) -> None:
            shutil.copytree(Path(self.finished) / recipe.folder.name, recipe.folder, dirs_exist_ok=True)

        attempts.run = copied  # type: ignore[assignment]


if __name__ == "__main__":
    raise SystemExit(main())
