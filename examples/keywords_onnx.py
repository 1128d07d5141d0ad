"""Hear keywords in a stream of audio with ONNX Runtime alone; no torch is needed.

    prune-ssl export out/model keywords --to onnx
    pip install onnxruntime soundfile
    python examples/keywords_onnx.py keywords speech.wav

The file stands for a microphone: its 16 kHz audio arrives in chunks of a quarter of a second, and the model
hears the last second after each of them.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile

if len(sys.argv) != 3:
    sys.exit(__doc__)
folder, recording = map(Path, sys.argv[1:])
facts = json.loads((folder / "export.json").read_text())
session = onnxruntime.InferenceSession(folder / facts["file"])
rate = facts["sampling_rate"]
heard = np.zeros(rate, dtype=np.float32)
for number, chunk in enumerate(soundfile.blocks(recording, rate // 4, dtype="float32", fill_value=0.0), 1):
    heard = np.concatenate([heard, chunk])[-rate:]
    clip = (heard - heard.mean()) / np.sqrt(heard.var() + 1e-7) if facts["do_normalize"] else heard
    feeds = {facts["input"]: clip[None], "attention_mask": np.ones((1, rate), dtype=np.int64)}
    logits = session.run(None, {each.name: feeds[each.name] for each in session.get_inputs()})[0][0]
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    print(f"{number / 4:6.2f} s  {facts['labels'][shares.argmax()]}  {shares.max():.2f}")
