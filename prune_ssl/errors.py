"""The exceptions of the package: one base class, and one subclass for each kind of error."""


class PruneError(Exception):
    """The base class of all errors of prune_ssl.

    Each message says where the error is, what was found, what was wanted, and what to do.

    >>> import prune_ssl
    >>> try:
    ...     prune_ssl.load_model("no/such/folder")
    ... except prune_ssl.PruneError as error:
    ...     print(type(error).__name__)
    ModelError
    """


class ModelError(PruneError):
    """The model cannot be handled: its family is not known, or its state does not allow the operation."""


class TraceError(PruneError):
    """The dependency graph contains a module or an operation around which pruning cannot be justified."""


class KeepError(PruneError):
    """A keep names an unknown group or unit, or would leave a model that cannot run."""


class BudgetError(PruneError):
    """A budget is malformed, or no keep of this model can meet it."""


class DistillationError(PruneError):
    """Student and teacher do not fit together, or a distillation setting is out of range."""


class DataError(PruneError):
    """A corpus or an audio file cannot be used."""


class RecipeError(PruneError):
    """A recipe has an unknown key or a value out of range."""


class ArtifactError(PruneError):
    """A model folder cannot be written or read."""


class GatingError(PruneError):
    """Gates have learned nothing that a cut could follow, or a training loop does not let them learn."""


class TrainingError(PruneError):
    """Training cannot continue or resume: a loss, a gradient or a weight is not finite."""


class PruneWarning(UserWarning):
    """An operation was done, but probably not as the user meant it. The message says what to do."""


class MeasuringError(PruneError, ValueError):
    """A measurement is impossible, such as one of 0 s of audio or on 0 threads."""


class ExportError(PruneError):
    """A model cannot be written for a runtime, or the written graph differs from the model."""
