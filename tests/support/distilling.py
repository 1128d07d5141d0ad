"""One forward of a student that a distiller listens to."""

import torch

from prune_ssl.distillation import HIDDEN_LOSSES

FOR_ALL_MODELS = dict.fromkeys((*HIDDEN_LOSSES, "attention", "layer_gram", "intra_gram", "logits"), 1.0)


def audio(*lengths, seed=1):
    torch.manual_seed(seed)
    waves = [torch.randn(length) for length in lengths]
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(n, dtype=torch.long) for n in lengths], True)
    return {"input_values": torch.nn.utils.rnn.pad_sequence(waves, True), "attention_mask": mask}


def distil(distiller, student, inputs):
    with distiller.listening():
        outputs = student(**{key: inputs[key] for key in ("input_values", "attention_mask") if key in inputs})
    return distiller.loss(inputs, outputs)
