"""Structured pruning of speech SSL models: trace, gate, cut, save, measure, report.

Shape letters used throughout: B batch, T frames, N samples, D hidden, H heads, F feed-forward, C channels, L
layers.

The names are imported when they are first used, so that `import prune_ssl` takes milliseconds.
"""

from typing import TYPE_CHECKING

from prune_ssl.lazy_names import lazily
from prune_ssl.on_import import watch
from prune_ssl.version import VERSION

if TYPE_CHECKING:
    from prune_ssl.artifacts import load_pretrained, save_pretrained
    from prune_ssl.data import register_layout
    from prune_ssl.distillation import DistillationConfig, register_loss
    from prune_ssl.errors import PruneError, PruneWarning
    from prune_ssl.exporting import Quantized, quantize_
    from prune_ssl.gating import Gates, Plan, PruningConfig, attach_gates
    from prune_ssl.measuring import Measurement, measure
    from prune_ssl.models import Family, load_model, register_family
    from prune_ssl.optimising import optimize_for_inference
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

__version__ = VERSION

__getattr__, __dir__ = lazily(
    __name__,
    {
        "prune_ssl.artifacts": "load_pretrained save_pretrained",
        "prune_ssl.data": "register_layout",
        "prune_ssl.distillation": "DistillationConfig register_loss",
        "prune_ssl.errors": "PruneError PruneWarning",
        "prune_ssl.exporting": "Quantized quantize_",
        "prune_ssl.gating": "Gates Plan PruningConfig attach_gates",
        "prune_ssl.measuring": "Measurement measure",
        "prune_ssl.models": "Family load_model register_family",
        "prune_ssl.optimising": "optimize_for_inference",
        "prune_ssl.pipeline.evaluating": "Evaluation evaluate",
        "prune_ssl.pipeline.judging": "JudgingConfig",
        "prune_ssl.pipeline.shipping": "ExportData export",
        "prune_ssl.profiling": "Timing fit_latency with_latency",
        "prune_ssl.reporting": "Report RunFacts report",
        "prune_ssl.resizing": "resize to_stock",
        "prune_ssl.selection": "Criterion register_criterion select",
        "prune_ssl.tasks": "register_task",
        "prune_ssl.tracing": "Cost Group PruningGraph Traced trace",
        "prune_ssl.training": "DistillationTrainer PruningTrainer",
    },
)

watch()

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
    "optimize_for_inference",
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
