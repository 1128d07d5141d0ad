"""The SUPERB probe: how well a frozen encoder, pruned or not, serves a task; and SUPERB's scores."""

from typing import TYPE_CHECKING

from prune_ssl.lazy_names import lazily

if TYPE_CHECKING:
    from prune_ssl.probing.probes import Probed, Trained, probe
    from prune_ssl.probing.scores import MEASURES, overall_score, superb_score
    from prune_ssl.probing.settings import PROBES, ProbeSettings

__getattr__, __dir__ = lazily(
    __name__,
    {
        "prune_ssl.probing.probes": "Probed Trained probe",
        "prune_ssl.probing.scores": "MEASURES overall_score superb_score",
        "prune_ssl.probing.settings": "PROBES ProbeSettings",
    },
)

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
