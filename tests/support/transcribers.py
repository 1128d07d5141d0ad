"""A tiny CTC model with its processor, and the texts that PyTorch hears in three clips."""

import json
from pathlib import Path

import numpy as np
import torch
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2Processor

import prune_ssl
from tests.support.exporting import NORMALISED, pruned

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefgh'"]
UNHEARD = [1, 2, 3, len(LETTERS), len(LETTERS) + 1]
LOUDNESS = 1 / 8
"""Of the clips, so that noise fits into the integers of a WAV file."""
CANDIDATES = 60
MARGIN = 1e-3
"""Between the best letter of a frame and the next: other processors and runtimes round in other ways."""


def transcriber(folder: Path):
    """A random CTC model that gives many letters, saved with its processor, and texts of three clips.

    The clips are those whose letters are surest, as a 16-bit file holds them.
    """
    (folder / "vocab.json").write_text(json.dumps({letter: index for index, letter in enumerate(LETTERS)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    model = pruned("hubert", "ForCTC", vocab_size=len(LETTERS) + 2, pad_token_id=0)
    processor = Wav2Vec2Processor(NORMALISED, tokenizer)
    prune_ssl.save_pretrained(model, folder / "model", processor=processor)
    heard = []
    for seed in range(CANDIDATES):
        noise = LOUDNESS * np.random.default_rng(seed).standard_normal(12_000 + 3_000 * (seed % 3))
        clip = (np.round(noise * 2**15) / 2**15).astype(np.float32)
        with torch.no_grad():
            logits = model(**processor(clip, sampling_rate=16_000, return_tensors="pt")).logits[0]
        logits[:, UNHEARD] = -torch.inf
        best, second = logits.topk(2).values.unbind(-1)
        heard.append((float((best - second).min()), clip, processor.decode(logits.argmax(-1))))
    surest = sorted(heard, key=lambda found: -found[0])[:3]
    assert min(margin for margin, _, _ in surest) > MARGIN
    assert len({text for _, _, text in surest}) == 3
    return folder / "model", [clip for _, clip, _ in surest], [text for _, _, text in surest]
