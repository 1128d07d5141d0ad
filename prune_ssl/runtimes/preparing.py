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


def made_for_mask(model: PreTrainedModel) -> bool:
    """Return whether a model was trained with an attention mask, by the norm of its frontend."""
    return getattr(model.config, "feat_extract_norm", "layer") == "layer"
