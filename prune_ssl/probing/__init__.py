"""The SUPERB probe: how well a frozen encoder, pruned or not, serves a task; and SUPERB's scores."""

from prune_ssl.probing.probes import Probed, Trained, probe
from prune_ssl.probing.scores import MEASURES, overall_score, superb_score
from prune_ssl.probing.settings import PROBES, ProbeSettings

__all__ = [
    "MEASURES",
    "PROBES",
    "ProbeSettings",
    "Probed",
    "Trained",
    "overall_score",
    "probe",
    "superb_score",
]
