"""Processes: averages the gradient of gates over the processes that train one model."""

import torch
import torch.distributed as dist


def mean_over_processes(gradient: torch.Tensor) -> torch.Tensor:
    """Return the mean of a gradient over the processes of a distributed run, the same on each of them.

    DistributedDataParallel and FSDP do this for the parameters of a model; gates are outside of it.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return gradient
    total = gradient.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
