"""Classify recordings with OpenVINO, the fastest runtime for Intel processors.

prune-ssl export out/model classifier --to openvino
pip install openvino soundfile
python examples/classify_openvino.py classifier first.wav second.wav
"""

import json
import sys
from pathlib import Path

import numpy as np
import openvino
import soundfile

if len(sys.argv) < 3:
    sys.exit(__doc__)
folder, *recordings = map(Path, sys.argv[1:])
facts = json.loads((folder / "export.json").read_text())
# Without the hint OpenVINO computes in bfloat16 on processors that have it, which is faster and less exact.
model = openvino.Core().compile_model(folder / facts["file"], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
names = [each.get_any_name() for each in model.inputs]
for recording in recordings:
    clip, rate = soundfile.read(recording, dtype="float32")
    assert rate == facts["sampling_rate"], f"{recording} has {rate} Hz: resample it first"
    if facts["do_normalize"]:
        clip = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
    feeds = {facts["input"]: clip[None], "attention_mask": np.ones((1, len(clip)), dtype=np.int64)}
    logits = model({name: feeds[name] for name in names})[0][0]
    print(f"{recording.name}: {facts['labels'][logits.argmax()]}")
