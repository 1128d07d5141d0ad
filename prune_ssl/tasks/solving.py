"""The task that a trained model solves, as far as its head and its labels tell."""

from __future__ import annotations

from transformers import PreTrainedModel, Wav2Vec2PhonemeCTCTokenizer

from prune_ssl.tasks.classification import Classification, has_classifier
from prune_ssl.tasks.ctc import Phonemes, Recognition, has_ctc
from prune_ssl.tasks.joint import Joint, speaker_part
from prune_ssl.tasks.slots import Slots, slots_of
from prune_ssl.tasks.task import Task
from prune_ssl.tasks.tokenizers import load_tokenizer
from prune_ssl.tasks.verification import Verification, has_xvector


def solved_task(model: PreTrainedModel) -> type[Task] | None:
    """Return the kind of task that a model's head was trained for, or None if its head does not tell.

    Labels "slot=value" tell slots from plain labels, and a tokenizer of phonemes tells these from letters.

    Raises:
        ModelError: the model has a CTC head, and its tokenizer cannot be read.

    >>> from transformers import HubertConfig, HubertForSequenceClassification, HubertModel
    >>> config = HubertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> solved_task(HubertForSequenceClassification(config)).spec.name, solved_task(HubertModel(config))
    ('classification', None)
    """
    if has_classifier(model):
        return Classification if slots_of(model) is None else Slots
    if has_xvector(model):
        return Verification if speaker_part(model) is None else Joint
    if has_ctc(model):
        spells = isinstance(load_tokenizer(model.name_or_path or ""), Wav2Vec2PhonemeCTCTokenizer)
        return Phonemes if spells else Recognition
    return None
