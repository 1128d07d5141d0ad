"""Structured pruning of speech SSL models: trace, gate, cut, save, measure, report.

Shape letters used throughout: B batch, T frames, N samples, D hidden, H heads, F feed-forward, C channels, L
layers.
"""

import prune_ssl.families  # noqa: F401  (the import registers the families)
from prune_ssl.artifacts import load_pretrained, save_pretrained
from prune_ssl.data import register_layout
from prune_ssl.distillation import DistillationConfig, register_loss
from prune_ssl.errors import PruneError, PruneWarning
from prune_ssl.exporting import Quantized, quantize_
from prune_ssl.gating import Gates, Plan, PruningConfig, attach_gates
from prune_ssl.measuring import Measurement, measure
from prune_ssl.models import Family, load_model, register_family
from prune_ssl.pipeline.evaluating import Evaluation, evaluate
from prune_ssl.pipeline.judging import JudgingConfig
from prune_ssl.pipeline.shipping import ExportData, export
from prune_ssl.profiling import Timing, fit_latency, with_latency
from prune_ssl.reporting import Report, RunFacts, report
from prune_ssl.resizing import resize, to_stock
from prune_ssl.selection import Criterion, register_criterion, select
from prune_ssl.tasks import register_task
from prune_ssl.tracing import Cost, Group, PruningGraph, Traced, trace
from prune_ssl.training import DistillationTrainer, PruningTrainer
from prune_ssl.version import VERSION

__version__ = VERSION

__all__ = [
    "Cost",
    "Criterion",
    "DistillationConfig",
    "DistillationTrainer",
    "Evaluation",
    "ExportData",
    "Family",
    "Gates",
    "Group",
    "JudgingConfig",
    "Measurement",
    "Plan",
    "PruneError",
    "PruneWarning",
    "PruningConfig",
    "PruningGraph",
    "PruningTrainer",
    "Quantized",
    "Report",
    "RunFacts",
    "Timing",
    "Traced",
    "__version__",
    "attach_gates",
    "evaluate",
    "export",
    "fit_latency",
    "load_model",
    "load_pretrained",
    "measure",
    "quantize_",
    "register_criterion",
    "register_family",
    "register_layout",
    "register_loss",
    "register_task",
    "report",
    "resize",
    "save_pretrained",
    "select",
    "to_stock",
    "trace",
    "with_latency",
]
