"""Artifacts: model folders that reload anywhere, safetensors only."""

from prune_ssl.artifacts.folder import load_pretrained, prepare_folder, save_pretrained

__all__ = ["load_pretrained", "prepare_folder", "save_pretrained"]
