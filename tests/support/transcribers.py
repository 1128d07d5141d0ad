"""A tiny CTC model with its processor, and the texts that PyTorch hears in three clips."""

import json
from pathlib import Path

import numpy as np
import torch
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2Processor

import prune_ssl
from tests.support.exporting import NORMALISED, pruned

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefgh'"]


def transcriber(folder: Path):
    """A random CTC model that gives many letters, saved with its processor, and texts of three clips."""
    (folder / "vocab.json").write_text(json.dumps({letter: index for index, letter in enumerate(LETTERS)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    model = pruned("hubert", "ForCTC", vocab_size=len(LETTERS) + 2, pad_token_id=0)
    processor = Wav2Vec2Processor(NORMALISED, tokenizer)
    prune_ssl.save_pretrained(model, folder / "model", processor=processor)
    clips = [np.random.default_rng(seed).standard_normal(16_000 + 3_000 * seed) for seed in range(3)]
    texts = []
    for clip in clips:
        inputs = processor(clip, sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits
        logits[..., [1, 2, 3, len(LETTERS), len(LETTERS) + 1]] = -torch.inf
        texts.append(processor.decode(logits.argmax(-1)[0]))
    assert len(set(texts)) == 3
    return folder / "model", [clip.astype(np.float32) for clip in clips], texts
