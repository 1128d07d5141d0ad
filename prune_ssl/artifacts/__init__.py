"""Artifacts: model folders that reload anywhere, safetensors only."""

from prune_ssl.artifacts.folder import (
    earlier_plan,
    load_plan,
    load_pretrained,
    plan_from_dense,
    prepare_folder,
    save_pretrained,
)

__all__ = [
    "earlier_plan",
    "load_plan",
    "load_pretrained",
    "plan_from_dense",
    "prepare_folder",
    "save_pretrained",
]
