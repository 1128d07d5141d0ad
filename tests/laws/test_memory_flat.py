"""Many models through one process: nothing of a model stays once its user has let it go."""

import gc
import subprocess
import sys
import weakref
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from prune_ssl import PruningConfig, attach_gates, resize, select, trace
from prune_ssl.tracing import twin
from tests.support.models import tiny_model
from tests.support.paths import ROOT

CONFIG = PruningConfig(budget="macs=60%", steps=10, seconds=1.0, round_to=1)
KEEP = {"layer.0.ffn": [1, 2], "conv.1": range(4)}


@contextmanager
def no_search_for_circles():
    """What nothing refers to goes at once; circles stay until Python looks for them."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("family", ["hubert", "wavlm", "wav2vec2-conformer"])
def test_the_twin_goes_with_its_trace(family, monkeypatch):
    twins = []

    def noted(model):
        made = twin.make_twin(model)
        twins.append(weakref.ref(made))
        return made

    monkeypatch.setattr("prune_ssl.tracing.tracer.make_twin", noted)
    model = tiny_model(family, "ForCTC")
    with no_search_for_circles():
        graph = trace(model)
        assert twins[0]() is None
    assert graph.groups


def test_a_trace_that_fails_leaves_no_twin(monkeypatch):
    twins = []

    def noted(model):
        made = twin.make_twin(model)
        twins.append(weakref.ref(made))
        return made

    monkeypatch.setattr("prune_ssl.tracing.tracer.make_twin", noted)
    with no_search_for_circles(), pytest.raises(Exception, match="no group of units matches"):
        trace(tiny_model(), only=["nothing"])
    assert twins[0]() is None


@pytest.mark.parametrize("detached", [True, False])
def test_a_model_goes_with_its_gates(detached):
    model = tiny_model()
    gates = attach_gates(model, trace(model), CONFIG)
    gates.finalize(untrained=True)
    gone = [weakref.ref(model.hubert.encoder), weakref.ref(gates)]
    with no_search_for_circles():
        if detached:
            gates.detach()
            del gates, model
            assert [each() for each in gone] == [None, None]
    if not detached:  # the two hold each other, and nothing else holds them
        del gates, model
        gc.collect()
        assert [each() for each in gone] == [None, None]


def test_a_cut_model_goes_at_once():
    model = tiny_model()
    graph = trace(model)
    with no_search_for_circles():
        small = resize(model, graph, KEEP)
        gone = weakref.ref(small.hubert.encoder)
        del small
        assert gone() is None


def one_round(base):
    graph = trace(base)
    gates = attach_gates(base, graph, CONFIG)
    plan = gates.finalize(untrained=True)
    gates.detach()
    return resize(base, graph, plan)


@pytest.mark.slow
def test_the_number_of_objects_is_flat():
    base = tiny_model()
    select(base, trace(base), "macs=60%")
    for _ in range(3):
        one_round(base)
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(10):
        one_round(base)
    gc.collect()
    assert len(gc.get_objects()) - before < 50


LOOP = """
import gc, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.support.models import tiny_model
from tests.laws.test_memory_flat import one_round

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

base = tiny_model()
for _ in range(100):
    one_round(base)
before = resident()
for _ in range(200):
    one_round(base)
print(resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads resident memory from /proc")
def test_resident_memory_is_flat_after_a_warm_up():
    """200 rounds of trace, gates, projection and cut; 0.2 MB of each stayed before."""
    here = str(ROOT)
    found = subprocess.run([sys.executable, "-c", LOOP, here], capture_output=True, text=True, check=True)
    assert float(found.stdout.split()[-1]) < 10


def test_no_gate_is_left_on_what_was_detached():
    base = tiny_model()
    one_round(base)
    assert not any(hasattr(module, "prune_ssl_gate") for module in base.modules())
    assert torch.isfinite(base(torch.randn(1, 4000)).logits).all()
