"""Say by ONNX Runtime alone whether two recordings have the same speaker; no torch is needed.

    prune-ssl export out/model speakers --to onnx
    pip install onnxruntime soundfile
    python examples/verify_onnx.py speakers enrolled.wav unknown.wav

The model has an x-vector head (ForXVector). The score is the cosine of the two embeddings. Take the threshold
from `prune-ssl evaluate` on trials of your own.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile

if len(sys.argv) != 4:
    sys.exit(__doc__)
folder = Path(sys.argv[1])
facts = json.loads((folder / "export.json").read_text())
session = onnxruntime.InferenceSession(folder / facts["file"])


def embedding(recording: str) -> np.ndarray:
    """Return the speaker embedding (E,) of a recording at the model's sample rate, of length 1."""
    clip, rate = soundfile.read(recording, dtype="float32")
    assert rate == facts["sampling_rate"], f"{recording} has {rate} Hz: resample it first"
    if facts["do_normalize"]:
        clip = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
    feeds = {facts["input"]: clip[None], "attention_mask": np.ones((1, len(clip)), dtype=np.int64)}
    found = session.run(["embeddings"], {each.name: feeds[each.name] for each in session.get_inputs()})[0][0]
    return found / np.linalg.norm(found)


print(f"cosine {embedding(sys.argv[2]) @ embedding(sys.argv[3]):.4f}")
