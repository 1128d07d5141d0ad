"""The tests. Each process that imports them computes in one thread and asks no hub for files."""

import os

import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)
