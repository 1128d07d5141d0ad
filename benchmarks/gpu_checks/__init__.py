"""The checks of benchmarks/gpu.py."""
