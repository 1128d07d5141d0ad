"""The private names of transformers that prune_ssl needs, in one file: an upgrade breaks in one place.

Checked with transformers 5.23 and 5.24. Each name says why nothing public serves instead.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils.output_capturing import _CAN_RECORD_REGISTRY

from prune_ssl.models.torch_internals import drop_hooks

SUPPORTS_SDPA = "_supports_sdpa"
"""The attribute by which a class says that it can use torch's fused attention; there is no public one."""
LENGTHS = "_get_feat_extract_output_lengths"
"""The method that maps a number of samples to a number of frames; there is no public one."""
HOOKED = "_output_capturing_hooks_installed"
"""The attribute by which transformers knows that its recording hooks are on a model's modules."""


def attention_of(config: object) -> str | None:
    """Return the attention implementation that a config states; None if it states none, or is no config.

    The constructor of a config takes `attn_implementation`, but a config has no public attribute to read it.

    >>> attention_of(PreTrainedConfig(attn_implementation="eager"))
    'eager'
    """
    found = getattr(config, "_attn_implementation", None)
    return None if found is None else str(found)


def state_attention(config: PreTrainedConfig, implementation: str | None) -> None:
    """Let a config state another attention implementation.

    The public `set_attn_implementation` belongs to a model. It also changes modules, which do not exist yet
    when a model is being built.
    """
    config._attn_implementation = implementation


def can_fuse(cls: type[PreTrainedModel]) -> bool:
    """Return whether the attention of a class can use torch's fused kernel."""
    return bool(getattr(cls, SUPPORTS_SDPA))


def checkpoint_function(layer: nn.Module) -> object:
    """Return the function with which a layer recomputes its activations; None if it has none.

    The public methods only switch the recomputing on and off.
    """
    return getattr(layer, "_gradient_checkpointing_func", None)


def frames_made(model: PreTrainedModel, samples: int) -> int:
    """Return the number of frames that a model makes of so many samples."""
    lengths: Callable[[int], int] = getattr(model, LENGTHS)
    return int(lengths(samples))


class OpenModel(PreTrainedModel):
    """A model that decides itself which outputs are recorded and which attention implementations it runs.

    It stands before a stock class among the bases of a class. transformers (5.23) offers no public method for
    either decision: it reads one attribute of the class, and calls one private method whenever an
    implementation is asked for.
    """

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)  # type: ignore[no-untyped-call]
        stock = super()._can_record_outputs
        if stock is not None:
            cls._can_record_outputs = cls.recorded(stock)

    @classmethod
    def recorded(cls, stock: Mapping[str, object]) -> dict[str, object]:
        """Return the outputs that are recorded, given those of the stock class."""
        return dict(stock)

    def check_attention(self, asked: str | None, found: str) -> None:
        """Raise a ValueError if the model cannot run an attention implementation.

        Args:
            asked: the implementation that the user asked for.
            found: the implementation that transformers chose.
        """

    def chosen_attention(self, asked: str | None) -> str:
        """Return the implementation that transformers chooses when a model is being built.

        Raises:
            ValueError: the model cannot run it.
        """
        return self._check_and_adjust_attn_implementation(asked, is_init_check=True)

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        # transformers reads the source file of a class to decide this; a class that is made here has none.
        return True

    def _check_and_adjust_attn_implementation(
        self, attn_implementation: str | None, *args: Any, **kwargs: Any
    ) -> str:
        found = super()._check_and_adjust_attn_implementation(attn_implementation, *args, **kwargs)
        self.check_attention(attn_implementation, found)
        return found


def keep_names(model: PreTrainedModel) -> None:
    """Let transformers save a loaded model by the names of its own tensors.

    After `from_pretrained(key_mapping=...)` it would save them by the names that they had in the file.
    """
    vars(model)["_weight_conversions"] = []


def record_anew(model: PreTrainedModel) -> None:
    """Let transformers learn the recorded outputs of a model whose class was changed.

    It learns them in the constructor, and puts its hooks on the modules once, at the first call that records.
    """
    _CAN_RECORD_REGISTRY[model] = model._can_record_outputs
    for module in model.modules():
        drop_hooks(module, lambda hook: "output_capturing_hook" in getattr(hook, "__qualname__", ""))
    setattr(model, HOOKED, False)
