"""Transcribe all recordings of a folder with onnx-asr, several at a time; no torch is needed.

    prune-ssl export out/model recogniser --to onnx-asr
    pip install 'onnx-asr>=0.12,<0.13' onnxruntime soundfile
    python examples/transcribe_folder.py recogniser recordings

The export holds waveform_ctc.py, by which onnx-asr loads a model that takes the waveform.
"""

import sys
from pathlib import Path

BATCH = 8

if len(sys.argv) != 3:
    sys.exit(__doc__)
folder, recordings = map(Path, sys.argv[1:])
sys.path.insert(0, str(folder))
import waveform_ctc  # noqa: E402  (it lies in the export)

model = waveform_ctc.load(folder)
files = sorted(recordings.glob("*.wav"))
for start in range(0, len(files), BATCH):
    batch = files[start : start + BATCH]
    for file, text in zip(batch, model.recognize([str(each) for each in batch]), strict=True):
        print(f"{file.name}: {text.strip()}")
