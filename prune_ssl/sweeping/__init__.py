"""Sweeps: a recipe at many budgets, methods and seeds, on one process, several, or the nodes of a cluster."""

from prune_ssl.sweeping.cells import Trial, trials
from prune_ssl.sweeping.finding import Search, find_smallest
from prune_ssl.sweeping.halving import sweep_by_halving
from prune_ssl.sweeping.on_ray import OnRay
from prune_ssl.sweeping.plan import SweepPlan, lay_out
from prune_ssl.sweeping.points import point_of
from prune_ssl.sweeping.running import check, run_plan, sweep
from prune_ssl.sweeping.shards import Engine, Jobs, Shard

__all__ = [
    "Engine",
    "Jobs",
    "OnRay",
    "Search",
    "Shard",
    "SweepPlan",
    "Trial",
    "check",
    "find_smallest",
    "lay_out",
    "point_of",
    "run_plan",
    "sweep",
    "sweep_by_halving",
    "trials",
]
