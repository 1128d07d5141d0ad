"""Check that the files of a list lie in their corpus: a downloaded corpus must not name private files."""

from __future__ import annotations

import os
from pathlib import Path

from prune_ssl.data.files import shown
from prune_ssl.data.layouts import Listing

_HUB_BLOBS = "blobs"
"""The folder of the hub's cache that holds the files to which the links of a snapshot point."""


class Confinement:
    """Checks where the files of one split really are, after links and `..` are followed.

    Args:
        root: The corpus.
        listing: One of its splits. The whole folder of a split may lie elsewhere; in the hub's cache every
            file does.
        outside: Whether files may lie anywhere.
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
        """Return a message if the file lies outside the corpus although it must not, else None."""
        if self._free:
            return None
        real = self._real_path(path)
        if real.startswith(self._folders):
            return None
        return (
            f"outside the corpus, at {shown(real)}: put the file into the folder, or allow such files "
            "(data.outside: true in a recipe, FolderConfig(outside=True), doctor data --outside)"
        )

    def _real_path(self, path: Path) -> str:
        try:
            if path.name == ".." or path.is_symlink():
                return os.path.realpath(path)
        except (OSError, ValueError):  # no file can have this name, so its folder decides
            pass
        if path.parent not in self._real:
            self._real[path.parent] = os.path.realpath(path.parent)
        return os.path.join(self._real[path.parent], path.name)
