"""A pretended CUDA device, and the tests that need one."""
