"""Owns what gate training asks of TrainingArguments, of a budget and of a model before it begins."""

import dataclasses

from torch import nn
from transformers import PretrainedConfig, TrainingArguments

from prune_ssl.errors import PruneError
from prune_ssl.gating import PruningConfig
from prune_ssl.profiling import with_latency
from prune_ssl.tracing import PruningGraph
from prune_ssl.training.processes import launched


def with_tables(pruning: PruningConfig, model: nn.Module, graph: PruningGraph) -> PruningConfig:
    """Give latency budgets what this machine takes."""
    budget, *milestones = (
        with_latency(model, graph, each, pruning.seconds) for each in (pruning.budget, *pruning.milestones)
    )
    return dataclasses.replace(pruning, budget=budget, milestones=tuple(milestones))


def refuse_unsupported(args: TrainingArguments, scheduler: object) -> None:
    """Refuse settings under which gates would silently learn something else.

    Raises:
        PruneError: one of them is set.
    """
    problems = {
        "DataParallel (one process, several GPUs; use torchrun)": args.n_gpu > 1,
        "DeepSpeed": args.deepspeed is not None,
        "load_best_model_at_end (it would put early weights under late gates)": args.load_best_model_at_end,
        "a learning rate scheduler of its own, which would move the gates' rates too (choose one by "
        "lr_scheduler_type)": scheduler is not None,
        f"{launched()} processes that know nothing of each other (without a GPU, set use_cpu=True and "
        "ddp_backend='gloo' in the TrainingArguments)": launched() > args.world_size,
    }
    for name, found in problems.items():
        if found:
            raise PruneError(f"PruningTrainer does not support {name} yet: train without it.")


def without_layerdrop(model: nn.Module) -> float | None:
    """Switch LayerDrop off while gates train (a dropped layer tells its gates nothing); return its value."""
    config = getattr(model, "config", None)
    value = getattr(config, "layerdrop", None)
    if isinstance(config, PretrainedConfig) and value is not None:
        config.update({"layerdrop": 0.0})
    return value


def restore_layerdrop(model: nn.Module, value: float | None) -> None:
    """Put back what `without_layerdrop` gave."""
    config = getattr(model, "config", None)
    if isinstance(config, PretrainedConfig) and value is not None:
        config.update({"layerdrop": value})
