"""Prepare a copy of a model for the exporters."""

import copy

from transformers import PreTrainedModel

from prune_ssl.models import family_of


def prepared_copy(model: PreTrainedModel) -> PreTrainedModel:
    """Return a float32 copy on the CPU, in evaluation mode, that returns its output alone.

    Raises:
        ModelError: the model is of no known family.
    """
    family_of(model)
    made: PreTrainedModel = copy.deepcopy(model).float().cpu().eval()
    made.config.output_hidden_states = made.config.output_attentions = False
    return made


def can_take_mask(model: PreTrainedModel) -> bool:
    """Return whether the graph of a model can take an attention mask.

    An x-vector head of transformers averages each clip of a masked batch over its own frames, in a loop over
    the clips. No exporter writes such a loop.
    """
    return not type(model).__name__.endswith("ForXVector")


def made_for_mask(model: PreTrainedModel) -> bool:
    """Return whether a model's graph gets an attention mask, by its head and the norm of its frontend."""
    return can_take_mask(model) and getattr(model.config, "feat_extract_norm", "layer") == "layer"
