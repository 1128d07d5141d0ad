"""Owns FSDP: a model is sharded only while it trains, and whole before and after; cuts see whole models."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import Trainer

from prune_ssl.errors import PruneError
from prune_ssl.writing import new_file


def refuse_unsupported_sharding(trainer: Trainer) -> None:
    """Refuse FSDP settings that would not shard the model.

    Raises:
        PruneError: the processes have no accelerator, or FSDP is of version 1.
    """
    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin is None:
        if trainer.args.fsdp:
            raise PruneError(
                "fsdp: accelerate shards models on accelerators only; these processes run on "
                f"{trainer.args.device.type} and would each train a whole copy. Leave fsdp out: they then "
                "run as DistributedDataParallel."
            )
        return
    if plugin.fsdp_version != 2:
        raise PruneError(
            "fsdp: version 1 flattens the weights that gates scale; use fsdp_config={'version': 2} "
            "(accelerate launch --fsdp_version 2)."
        )


def gathered(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each entry of a state_dict, whole; call it on every process, and go through all of it."""
    for name, value in module.state_dict().items():
        yield name, value.full_tensor() if isinstance(value, DTensor) else value


@torch.no_grad()
def gather_into(whole: nn.Module, sharded: nn.Module) -> None:
    """Copy the weights of a sharded model into a whole one, one after the other, on every process."""
    state = whole.state_dict()
    for name, value in gathered(sharded):
        state[name].copy_(value)


@contextmanager
def shardable(model: nn.Module) -> Iterator[None]:
    """Let accelerate, which asks for token embeddings, shard a model that has none."""
    embeddings = getattr(model, "get_input_embeddings", None)
    try:
        if embeddings is not None:
            embeddings()
    except NotImplementedError:  # transformers' speech models raise it
        model.get_input_embeddings = lambda: None  # type: ignore[assignment]
    try:
        yield
    finally:
        vars(model).pop("get_input_embeddings", None)


@contextmanager
def apart(optimizer: torch.optim.Optimizer, groups: int) -> Iterator[None]:
    """Hide the last groups of an optimiser: FSDP's checkpoints know parameters of the model only."""
    hidden = optimizer.param_groups[len(optimizer.param_groups) - groups :]
    del optimizer.param_groups[len(optimizer.param_groups) - groups :]
    inside = [each for group in hidden for each in group["params"]]
    states = {each: optimizer.state.pop(each) for each in inside if each in optimizer.state}
    try:
        yield
    finally:
        optimizer.param_groups.extend(hidden)
        optimizer.state.update(states)


def save_groups(path: Path, optimizer: torch.optim.Optimizer, groups: int) -> None:
    """Write the learning rates and states of an optimiser's last groups."""
    kept = {}
    for number, group in enumerate(optimizer.param_groups[len(optimizer.param_groups) - groups :]):
        kept[f"{number}.lr"] = torch.tensor(group["lr"], dtype=torch.float64)
        for index, each in enumerate(group["params"]):
            state = optimizer.state.get(each, {})
            kept |= {f"{number}.{index}.{key}": value.detach().clone() for key, value in state.items()}
    with new_file(path) as new:
        save_file(kept, new)


def load_groups(path: Path, optimizer: torch.optim.Optimizer, groups: int) -> None:
    """Put back what `save_groups` wrote."""
    last = optimizer.param_groups[len(optimizer.param_groups) - groups :]
    for name, value in load_file(path).items():
        number, *rest = name.split(".")
        if rest == ["lr"]:
            last[int(number)]["lr"] = float(value)
        else:
            each = last[int(number)]["params"][int(rest[0])]
            device = each.device if rest[1] != "step" else value.device
            optimizer.state[each][rest[1]] = value.to(device)


def require_same_weights(model: nn.Module, accelerator: Accelerator) -> nn.Module:
    """Return the model; under several processes only if all hold the same weights, by checksum.

    Raises:
        PruneError: they differ.
    """
    if accelerator.num_processes > 1:
        total = hashlib.sha256()
        for name, value in model.state_dict().items():
            total.update(name.encode())
            total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        require_alike(total.digest(), "weights", accelerator)
    return model


def require_alike(digest: bytes, what: str, accelerator: Accelerator) -> None:
    """Require that all processes of a run have come to the same result.

    Raises:
        PruneError: the digests differ.
    """
    number = int.from_bytes(digest[:7], "big")
    found: torch.Tensor = accelerator.gather(torch.tensor([number], device=accelerator.device))
    if bool((found != number).any()):
        raise PruneError(
            f"the processes of this run made different {what}. Seed them alike and give each the same model."
        )
