"""One report for all tests that read one."""

import pytest

from prune_ssl.measuring import Timing
from prune_ssl.reporting import Report, RunFacts, report
from prune_ssl.resizing import resize
from prune_ssl.tracing import trace
from tests.support.models import tiny_model
from tests.support.reports import HISTORY, HOSTILE, RESULTS


@pytest.fixture(scope="session")
def made() -> Report:
    """A full report of a pruned model that has lost all heads of a layer."""
    dense = tiny_model()
    graph = trace(dense)
    keep = {name: range(group.size // 2) for name, group in graph.groups.items()} | {
        "layer.1.heads": range(0)
    }
    return report(
        resize(dense, graph, keep),
        baseline=dense,
        results=RESULTS,
        timing=Timing(seconds=(0.2, 0.5), threads=1, min_iterations=3, min_seconds=0.0),
        facts=RunFacts(
            title=HOSTILE,
            budget="macs=50%,frontend.macs=40%,params=2K",
            history=HISTORY,
            settings={"seed": 1, HOSTILE: HOSTILE},
            recipe={"name": HOSTILE, "seed": 1, "data": {"path": "corpus", "snr_db": [0.0, 20.0]}},
            reference_seconds=1.0,
        ),
    )
