"""The exceptions of the package: one base class, one kind per thing that can be wrong."""


class PruneError(Exception):
    """What prune_ssl refuses; the message says where, what was found, what was wanted, what to do."""


class ModelError(PruneError):
    """The model cannot be handled: no known speech SSL family, or its state does not allow the operation."""


class TraceError(PruneError):
    """The dependency graph met a module or an operation that it cannot justify pruning around."""


class KeepError(PruneError):
    """A keep names an unknown group or unit, or would leave something that cannot run."""


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
    """Gates learned nothing that a cut could follow, or a loop uses them so that they would not."""


class TrainingError(PruneError):
    """Training cannot go on, or not from here: a loss, a gradient or a weight is not finite."""


class PruneWarning(UserWarning):
    """Something was done, though probably not what was meant; the message says what to do."""


class MeasuringError(PruneError, ValueError):
    """A measurement is asked for that cannot be made, such as one of no audio or on no thread."""


class ExportError(PruneError):
    """A model cannot be written for a runtime, or what was written is not the model."""
