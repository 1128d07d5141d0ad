"""The weights in float16, with a feature extractor and a card that names the data and its licences."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import HubertModel, Wav2Vec2FeatureExtractor

from pretraining.audio import CORPORA
from pretraining.model import receptive_field
from prune_ssl.writing import new_folder, write_text

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: feature-extraction
---

# Small HuBERT

A `HubertModel` of {parameters:,} parameters (float16) that was pretrained on {minutes:.0f} minutes of
speech without labels. It exists so that distillation and pruning of a self-supervised model can be shown
on one CPU core.

Shape: {convolutions} convolutions of {channels} channels, 50 frames a second, {layers} pre-norm layers of
{width} units, {heads} heads and {inner} feed-forward neurons.

## Training
HuBERT's masked prediction (Hsu et al., 2021), round {round}: {step:,} of {steps:,} steps on one CPU core, by
`python benchmarks/pretrain_small.py`. The first convolution started as mel filters. Only training splits
were heard:

| corpus | minutes | licence |
|---|---|---|
{corpora}

## Use
Input: 16 kHz mono, zero mean and unit variance for each clip, with an attention mask. A frame sees {field}
samples. Load it with `HubertModel.from_pretrained(folder, dtype=torch.float32)`. It has heard a few hours of
mostly non-native English and Arabic words: expect little on other speech.

## Licence
Apache-2.0, as the repository that made it. The corpora keep the licences of the table: attribute them.
"""


def write_release(folder: Path, model: HubertModel, facts: Mapping[str, Any], step: int) -> None:
    """Write weights, config, feature extractor and card.

    Args:
        folder: It is replaced.
        model: The model.
        facts: The notes of the run: `minutes` by corpus, `round`, `steps`.
        step: The step of the weights.
    """
    config, minutes = model.config, facts["minutes"]
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    rows = [
        f"| {each.about} | {minutes[each.folder]:.1f} | {each.licence} |"
        for each in CORPORA
        if each.folder in minutes
    ]
    card = CARD.format(
        parameters=sum(each.numel() for each in model.parameters()),
        minutes=sum(minutes.values()),
        convolutions=len(config.conv_dim),
        channels=", ".join(map(str, config.conv_dim)),
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        inner=config.intermediate_size,
        round=facts["round"],
        step=step,
        steps=facts["steps"],
        corpora="\n".join(rows),
        field=receptive_field(config),
    )
    with new_folder(folder, replace=True) as new:
        model.to(torch.float16).save_pretrained(new)
        extractor.save_pretrained(new)
        write_text(new / "README.md", card)
