"""Options of `sweep` that exclude each other, and the engine that each of them names."""

import pytest

from prune_ssl.cli.sweep_options import Where
from prune_ssl.sweeping import Jobs, OnRay, Shard
from tests.support.cli import run_cli


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--jobs", "2", "--shard", "1/2"), "--jobs and --shard exclude each other"),
        (("--jobs", "2", "--on", "ray"), "--jobs and --on exclude each other"),
        (("--find", "drop<=1", "--halving", "2"), "--find and --halving exclude each other"),
        (("--find", "drop<=1", "--shard", "1/2"), "--shard runs a grid"),
        (("--halving", "2"), "give at least two with --methods"),
        (("--freeze", "nothing", "--jobs", "2"), "leave out --budgets, --methods, --jobs"),
    ],
)
def test_options_that_exclude_each_other_are_refused_in_a_line(recipe, options, words):
    result = run_cli("sweep", recipe, *options)
    assert result.exit_code == 2
    assert words in result.output


def test_options_name_an_engine():
    assert Where().engine() == Shard(1, 1)
    assert Where(shard="2/3").engine() == Shard(2, 3)
    jobs = Where(jobs=3).engine()
    assert isinstance(jobs, Jobs)
    assert jobs.count == 3
    ray = Where(on="ray://auto", trial_cpus=2, trial_gpus=0.5).engine()
    assert isinstance(ray, OnRay)
    assert (ray.address, ray.cpus, ray.gpus) == ("auto", 2, 0.5)
