"""The mark of a model that only computes, because `optimize_for_inference` has rebuilt it."""

from torch import nn

from prune_ssl.errors import ModelError

MARK = "prune_ssl_optimised"


class _Refusal:
    """Stands for a method of the model, and refuses it in one line."""

    def __init__(self, doing: str) -> None:
        self.doing = doing

    def __call__(self, *args: object, **kwargs: object) -> None:
        raise ModelError(refusal(self.doing))


class _EvaluationOnly:
    """Stands for the method `train` of a model: it lets evaluation mode pass."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, mode: bool = True) -> nn.Module:
        if mode:
            raise ModelError(refusal("train"))
        return type(self.model).train(self.model, False)


def refusal(doing: str) -> str:
    """Return the message of what an optimised model cannot do."""
    return (
        f"{doing}: found a model that optimize_for_inference made, which can only compute in evaluation "
        "mode. Give the model that it was made from."
    )


def mark_optimised_(model: nn.Module) -> None:
    """Mark a model in evaluation mode, so that it refuses training and saving."""
    model.eval()
    own = {"train": _EvaluationOnly(model), MARK: True}
    for name in ("save_pretrained", "push_to_hub"):
        if hasattr(model, name):
            own[name] = _Refusal(name)
    vars(model).update(own)


def is_optimised(model: nn.Module) -> bool:
    """Return whether `optimize_for_inference` made the model."""
    return bool(getattr(model, MARK, False))
