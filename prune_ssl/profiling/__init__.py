"""Time models, and measure and correct tables of the latency of each width on this machine."""

from prune_ssl.profiling.breakdown import Breakdown, time_by_part
from prune_ssl.profiling.comparing import SpeedUp, speed_up
from prune_ssl.profiling.fitting import Fit, fit_latency
from prune_ssl.profiling.machine import cpu_model, thread_count
from prune_ssl.profiling.table import measure_table, with_latency
from prune_ssl.profiling.timing import Latency, Timing, measure_interleaved

__all__ = [
    "Breakdown",
    "Fit",
    "Latency",
    "SpeedUp",
    "Timing",
    "cpu_model",
    "fit_latency",
    "measure_interleaved",
    "measure_table",
    "speed_up",
    "thread_count",
    "time_by_part",
    "with_latency",
]
