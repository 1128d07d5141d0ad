"""Measure the costs of a model: parameters, MACs, latency, memory and size on disk; describe the machine."""

from prune_ssl.measuring.benchmark import BenchRow, bench_table, benchmark_models, build_model, write_rows
from prune_ssl.measuring.environment import describe_environment
from prune_ssl.measuring.measurement import Measurement, measure, measure_side_by_side, measured_size_bytes
from prune_ssl.profiling import Latency, SpeedUp, Timing, measure_interleaved, speed_up

__all__ = [
    "BenchRow",
    "Latency",
    "Measurement",
    "SpeedUp",
    "Timing",
    "bench_table",
    "benchmark_models",
    "build_model",
    "describe_environment",
    "measure",
    "measure_interleaved",
    "measure_side_by_side",
    "measured_size_bytes",
    "speed_up",
    "write_rows",
]
