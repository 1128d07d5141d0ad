"""Everything that the package writes or deletes: whole or not at all, and one error where it cannot be.

A thing is made under a temporary name beside its place, brought to the disk, and moved there in one step; an
old thing goes when the new one stands. Folders are renamed before they are deleted. So a process that is
killed at any moment leaves each thing as it was or as it was to be, and at most leftovers, which the next
process that writes the same thing clears away.
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
from prune_ssl.writing.holding import Held, lock
from prune_ssl.writing.places import (
    check_place,
    check_room,
    is_taken,
    lock_name,
    real_place,
    told_as_one_error,
)

__all__ = [
    "Held",
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
    "told_as_one_error",
    "write_bytes",
    "write_text",
]
