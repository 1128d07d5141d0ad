"""Profiling: what the parts of a model take on this machine at which widths, for latency budgets."""

from prune_ssl.profiling.machine import cpu_model, thread_count
from prune_ssl.profiling.table import measure_table, with_latency

__all__ = ["cpu_model", "measure_table", "thread_count", "with_latency"]
