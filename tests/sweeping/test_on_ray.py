"""Sweeps on Ray: what is refused, and a cluster of two nodes that loses one of them."""

import importlib.util
import threading
import time

import pytest

from prune_ssl.errors import RecipeError
from prune_ssl.recipes import load_recipe
from prune_ssl.sweeping import OnRay, sweep, trials
from tests.support.sweeping import products_of, require_equal

HAS_RAY = importlib.util.find_spec("ray") is not None


def test_addresses_are_read():
    assert OnRay.parse("ray").address is None
    assert OnRay.parse("ray://auto", 2, 0.5) == OnRay("auto", 2, 0.5)
    assert OnRay.parse("ray://head:10001").address == "ray://head:10001"
    for text in ("", "ray://", "slurm"):
        with pytest.raises(RecipeError, match="wanted ray or ray://ADDRESS"):
            OnRay.parse(text)


def test_without_ray_it_is_said_how_to_install_it(recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(RecipeError, match=r"pip install 'prune_ssl\[ray\]'"):
        sweep(load_recipe(recipe), trials(["80%"], ["gates"], [0]), tmp_path / "s", print, OnRay())


@pytest.mark.slow
@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: pip install 'prune_ssl[ray]'")
@pytest.mark.filterwarnings("ignore")  # those of Ray, which address its developers
def test_a_cluster_that_loses_a_node_makes_the_models_of_one_process(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    import ray
    from ray.cluster_utils import Cluster

    loaded, cells = load_recipe(recipe), trials(["80%", "60%"], ["one_shot/magnitude"], [0, 1])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    lost = cluster.add_node(num_cpus=1)
    said = []

    def lose_a_node():
        while not list((tmp_path / "ray").glob("*/report.json")):
            time.sleep(0.2)
        cluster.remove_node(lost, allow_graceful=False)

    thread = threading.Thread(target=lose_a_node)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        with pytest.raises(RecipeError, match="no node has 64 processors"):
            sweep(loaded, cells, tmp_path / "ray", said.append, OnRay(cpus=64))
        thread.start()
        points = sweep(loaded, cells, tmp_path / "ray", said.append, OnRay())
        thread.join(timeout=60)
        assert sum(node["Alive"] for node in ray.nodes()) == 1
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert len(points) == len(cells), said
    sweep(loaded, cells, tmp_path / "local", lambda line: None)
    require_equal(products_of(tmp_path / "ray"), products_of(tmp_path / "local"))
