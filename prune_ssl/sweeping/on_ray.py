"""Trials of a sweep as tasks of a Ray cluster, whose nodes share the folder of the sweep."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from prune_ssl.errors import RecipeError
from prune_ssl.sweeping.attempts import End, Say, attempt
from prune_ssl.sweeping.cells import Trial
from prune_ssl.sweeping.plan import SETTINGS, SweepPlan
from prune_ssl.sweeping.shards import POLL_SECONDS
from prune_ssl.version import VERSION

RETRIES = 5
"""Ray runs a trial again so many times if its worker or its node is lost."""
SCHEME = "ray"
WITHOUT_BARS = {"TQDM_DISABLE": "1"}
"""tqdm reads this variable when it is imported."""


@dataclass(frozen=True)
class OnRay:
    """A Ray cluster. Each trial is a task, which resumes its trial if it was lost with its node before.

    >>> OnRay.parse("ray://head:10001").address
    'ray://head:10001'
    """

    address: str | None = None
    """The address of a cluster: `ray://HOST:PORT`, `HOST:PORT` or `auto`. None: a new one on this machine."""
    cpus: float = 1.0
    """The processors of one trial. Ray limits the threads of the trial to them."""
    gpus: float = 0.0
    """The accelerators of one trial. Several trials can share one: 0.5."""
    prepare: Callable[[], object] | None = None
    """Called first in each task, for example to load extensions."""

    @classmethod
    def parse(
        cls,
        text: str,
        cpus: float = 1.0,
        gpus: float = 0.0,
        prepare: Callable[[], object] | None = None,
    ) -> "OnRay":
        """Read `ray` or `ray://ADDRESS`. `ray://auto` is the cluster that runs on this machine.

        Raises:
            RecipeError: the text is not of this form.
        """
        scheme, _, place = text.partition("://")
        if scheme != SCHEME or (not place and "://" in text):
            raise RecipeError(f"--on: found {text!r:.60}, wanted ray or ray://ADDRESS.")
        address = (place if place == "auto" else text) if place else None
        return cls(address, cpus, gpus, prepare)

    def work(self, plan: SweepPlan, say: Say) -> None:
        """Run the trials of a plan as tasks, and wait for all of them.

        Raises:
            RecipeError: Ray is not installed, or no node has the resources of a trial.
        """
        ray = _connected(self, say)
        _require_resources(ray, self)
        resources = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": RETRIES}
        task = ray.remote(**resources, runtime_env={"env_vars": WITHOUT_BARS})(_run_trial)
        left, tasks = list(plan.recipes), dict[Any, Trial]()
        while left or tasks:
            ready = [cell for cell in left if not plan.waits(cell)]
            left = [cell for cell in left if cell not in ready]
            tasks |= {task.remote(plan, cell, VERSION, self.prepare): cell for cell in ready}
            done, _ = ray.wait(list(tasks), timeout=POLL_SECONDS)
            for each in done:
                cell = tasks.pop(each)
                try:
                    end = ray.get(each)
                except ray.exceptions.RayError as error:
                    plan.note_failure(cell, error)
                    end = "failed"
                say(f"{plan.shown(cell)}: {end}")


def _connected(engine: OnRay, say: Say) -> Any:  # Ray's API has no types
    """Return the module of Ray, connected to the cluster of an engine."""
    try:
        ray = import_module("ray")
    except ImportError as error:
        raise RecipeError("--on ray needs Ray: install it with `pip install 'prune_ssl[ray]'`.") from error
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
        ray.init(address=engine.address, logging_level="warning", log_to_driver=True)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    say(f"Ray: {len(nodes)} nodes, {ray.cluster_resources().get('CPU', 0):g} processors")
    return ray


def _require_resources(ray: Any, engine: OnRay) -> None:
    """Refuse trials that no node of the cluster could ever run.

    Raises:
        RecipeError: no node has the resources of a trial.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(each.get("CPU", 0) >= engine.cpus and each.get("GPU", 0) >= engine.gpus for each in nodes):
        raise RecipeError(
            f"--on ray: no node has {engine.cpus:g} processors and {engine.gpus:g} accelerators for a trial: "
            "give smaller --trial-cpus or --trial-gpus."
        )


def _run_trial(plan: SweepPlan, cell: Trial, version: str, prepare: Callable[[], object] | None) -> End:
    """Run one trial on a node of the cluster. The claim of a lost worker ends with its process.

    Raises:
        RecipeError: the node has another version of prune_ssl, or does not see the folder of the sweep.
    """
    node = socket.gethostname()
    if version != VERSION:
        raise RecipeError(f"node {node} has prune_ssl {VERSION}, the sweep began with {version}.")
    if not (plan.out / SETTINGS).is_file():
        raise RecipeError(f"node {node} does not see {plan.out}: give an --out that all nodes share.")
    if prepare is not None:
        prepare()
    while (end := attempt(plan, cell, print)) == "claimed":
        time.sleep(POLL_SECONDS)
    return end
