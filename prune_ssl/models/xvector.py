"""X-vector models of the families that have none in transformers: their backbone, wav2vec 2.0's head."""

import sys
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoModelForAudioXVector, PreTrainedConfig, PreTrainedModel, Wav2Vec2ForXVector

from prune_ssl.models.family import Family, stock_class

STOCK: Any = sys.modules[Wav2Vec2ForXVector.__module__]
"""The module of transformers with the head's layers and loss."""

XVECTOR_FIELDS: dict[str, Any] = {
    "tdnn_dim": [512, 512, 512, 512, 1500],
    "tdnn_kernel": [5, 3, 3, 1, 1],
    "tdnn_dilation": [1, 2, 3, 1, 1],
    "xvector_output_dim": 512,
}
"""Fields of the head that these families' configs lack, as Wav2Vec2Config has them."""


class XVectorHead(PreTrainedModel):
    """Stands before a family's PreTrainedModel: its backbone, Wav2Vec2ForXVector's layers and forward."""

    backbone_class: type[PreTrainedModel]

    def __init__(self, config: PreTrainedConfig) -> None:
        for name, default in XVECTOR_FIELDS.items():
            if getattr(config, name, None) is None:
                setattr(config, name, list(default) if isinstance(default, list) else default)
        super().__init__(config)
        setattr(self, self.base_model_prefix, self.backbone_class(config))
        if getattr(config, "use_weighted_layer_sum", False):
            states = config.num_hidden_layers + 1
            self.layer_weights = nn.Parameter(torch.ones(states) / states)
        self.projector = nn.Linear(config.hidden_size, config.tdnn_dim[0])
        self.tdnn = nn.ModuleList(STOCK.TDNNLayer(config, index) for index in range(len(config.tdnn_dim)))
        self.feature_extractor = nn.Linear(config.tdnn_dim[-1] * 2, config.xvector_output_dim)
        self.classifier = nn.Linear(config.xvector_output_dim, config.xvector_output_dim)
        self.objective = STOCK.AMSoftmaxLoss(config.xvector_output_dim, config.num_labels)
        self.post_init()  # type: ignore[no-untyped-call]


def _backbone_of(model: XVectorHead) -> nn.Module:
    return model.get_submodule(model.base_model_prefix)


def xvector_class(family: Family) -> type[PreTrainedModel]:
    """Make the x-vector model of a family, with what it borrows of Wav2Vec2ForXVector."""
    backbone = family.stock("bare")
    stem = backbone.__name__.removesuffix("Model")
    borrowed = ("forward", "_get_tdnn_output_lengths", "freeze_feature_encoder", "freeze_base_model")
    body = {
        **{name: vars(Wav2Vec2ForXVector)[name] for name in borrowed},
        "backbone_class": backbone,
        # The borrowed forward calls the backbone by this name.
        Wav2Vec2ForXVector.base_model_prefix: property(_backbone_of),
        "__module__": __name__,
        "__doc__": f"{stem}Model with the x-vector head of Wav2Vec2ForXVector.",
    }
    return type(f"{stem}ForXVector", (XVectorHead, *backbone.__bases__), body)


XVECTOR_CLASSES: dict[str, type[PreTrainedModel]] = {}
"""Class name -> class, of the families that have none in transformers."""


def define_xvector(family: Family) -> None:
    """Make the x-vector class that a family names and transformers lacks, for its Auto class too."""
    assert family.classes is not None
    for name, _ in family.classes.heads:
        if name.endswith("ForXVector") and not hasattr(transformers, name):
            cls = xvector_class(family)
            XVECTOR_CLASSES[name] = cls
            setattr(sys.modules[__name__], cls.__name__, cls)
            # Without exist_ok transformers passes over configs of its own.
            config_class: Any = cls.config_class
            AutoModelForAudioXVector.register(config_class, cls, exist_ok=True)


def model_class(name: str) -> type[PreTrainedModel] | None:
    """Return a model class that a family names: transformers' own, one of ours, or None."""
    try:
        found: type[PreTrainedModel] = stock_class(name)
    except AttributeError:
        return XVECTOR_CLASSES.get(name)
    return found
