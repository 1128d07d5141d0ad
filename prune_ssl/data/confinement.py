"""Owns whether the files of a list lie in their corpus: a corpus from elsewhere should not read one's own."""

from __future__ import annotations

import os
from pathlib import Path

from prune_ssl.data.files import shown
from prune_ssl.data.layouts import Listing

_HUB_BLOBS = "blobs"
"""Where the hub's cache keeps the files that the links of a snapshot point to."""


class Confinement:
    """Tells where the files of one split are, after all links and `..`.

    Args:
        root: The corpus.
        listing: One of its splits, which may lie elsewhere as a whole; in the hub's cache, each file does.
        outside: Whether files may be anywhere.
    """

    def __init__(self, root: Path, listing: Listing, outside: bool) -> None:
        self._free = outside or not listing.confined
        self._real: dict[Path, str] = {}
        folders = [os.path.realpath(root), os.path.realpath(listing.folder)]
        blobs = os.path.dirname(os.path.realpath(listing.folder / listing.source))
        if os.path.basename(blobs) == _HUB_BLOBS:
            folders.append(blobs)
        self._folders = tuple(folder.rstrip(os.sep) + os.sep for folder in folders)

    def problem(self, path: Path) -> str | None:
        """Say where a file is that must lie in the corpus and does not, or None."""
        if self._free:
            return None
        real = self._real_path(path)
        if real.startswith(self._folders):
            return None
        return (
            f"outside the corpus, at {shown(real)}: put it into the folder, or allow such files "
            "(data.outside: true in a recipe, FolderConfig(outside=True), doctor data --outside)"
        )

    def _real_path(self, path: Path) -> str:
        try:
            if path.name == ".." or path.is_symlink():
                return os.path.realpath(path)
        except (OSError, ValueError):  # no name that a file can have: its folder decides
            pass
        if path.parent not in self._real:
            self._real[path.parent] = os.path.realpath(path.parent)
        return os.path.join(self._real[path.parent], path.name)
