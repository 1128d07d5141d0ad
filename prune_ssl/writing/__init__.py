"""All writing and deleting of the package: a file or folder appears whole or not at all.

A file or folder is made under a temporary name next to its place, synced to the disk, and moved to its place
in one step. An old one is deleted only after the new one stands. Folders are renamed before they are deleted.
A process that is killed at any moment therefore leaves each file or folder either old or new, and at most
some leftovers, which the next process that writes the same path deletes. Failures become one ArtifactError.
"""

from prune_ssl.writing.atomic import (
    clear_below,
    clear_leftovers,
    copy_file,
    make_folder,
    new_file,
    new_folder,
    put_back,
    remove,
    temporary_folder,
    write_bytes,
    write_text,
)
from prune_ssl.writing.holding import Held, InUseError, lock
from prune_ssl.writing.places import (
    as_artifact_error,
    check_place,
    check_room,
    is_taken,
    lock_name,
    real_place,
)

__all__ = [
    "Held",
    "InUseError",
    "as_artifact_error",
    "check_place",
    "check_room",
    "clear_below",
    "clear_leftovers",
    "copy_file",
    "is_taken",
    "lock",
    "lock_name",
    "make_folder",
    "new_file",
    "new_folder",
    "put_back",
    "real_place",
    "remove",
    "temporary_folder",
    "write_bytes",
    "write_text",
]
