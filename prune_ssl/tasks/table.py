"""The table of tasks by their names in recipes. `register_task` adds a task to it."""

import inspect
from typing import TypeVar

from prune_ssl.errors import RecipeError
from prune_ssl.tasks.classification import Classification
from prune_ssl.tasks.ctc import Phonemes, Recognition
from prune_ssl.tasks.joint import Joint
from prune_ssl.tasks.representation import Representation
from prune_ssl.tasks.slots import Slots
from prune_ssl.tasks.task import Task
from prune_ssl.tasks.verification import Verification

Kind = TypeVar("Kind", bound=type[Task])

TASKS: dict[str, type[Task]] = {
    kind.spec.name: kind
    for kind in (Classification, Recognition, Joint, Phonemes, Representation, Slots, Verification)
}
"""Maps the name of a task in recipes to its class."""


def task_class(name: str) -> type[Task]:
    """Return the class of a task by its name in recipes.

    Raises:
        RecipeError: no task has this name.

    >>> task_class("ctc").__name__
    'Recognition'
    """
    if name not in TASKS:
        raise RecipeError(f"task: no task is named {name!r}: choose from {', '.join(sorted(TASKS))}")
    return TASKS[name]


def register_task(kind: Kind) -> Kind:
    """Add a task, so that recipes of this process may name it. It can be used as a decorator of the class.

    See docs/add_a_task.md.

    Raises:
        RecipeError: `kind` is not a subclass of `Task`, it lacks a method or `spec`, or another task has its
            name.

    >>> from dataclasses import replace
    >>> @register_task
    ... class Emotion(Classification):
    ...     spec = replace(Classification.spec, name="emotion", target="emotion")
    >>> task_class("emotion").spec.target
    'emotion'
    >>> del TASKS["emotion"]
    """
    if not (isinstance(kind, type) and issubclass(kind, Task)):
        raise RecipeError(f"register_task: found {kind!r:.60}, wanted a subclass of prune_ssl.tasks.Task")
    if inspect.isabstract(kind) or not hasattr(kind, "spec"):
        lacking = sorted(getattr(kind, "__abstractmethods__", ())) + ["spec"] * (not hasattr(kind, "spec"))
        raise RecipeError(f"register_task: {kind.__name__} lacks {', '.join(lacking)}")
    if TASKS.get(kind.spec.name, kind) is not kind:
        raise RecipeError(
            f"register_task: the task {TASKS[kind.spec.name].__name__} has the name {kind.spec.name!r} "
            f"already: give {kind.__name__} another name"
        )
    TASKS[kind.spec.name] = kind
    return kind
