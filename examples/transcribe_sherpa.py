"""Transcribe recordings with sherpa-onnx, which also runs on phones and in browsers.

prune-ssl export out/model recogniser --to sherpa-onnx
pip install sherpa-onnx soundfile
python examples/transcribe_sherpa.py recogniser first.wav second.wav
"""

import sys
from pathlib import Path

import sherpa_onnx
import soundfile

if len(sys.argv) < 3:
    sys.exit(__doc__)
folder, *recordings = map(Path, sys.argv[1:])
recogniser = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(
    model=str(folder / "model.onnx"), tokens=str(folder / "tokens.txt"), num_threads=2
)
for recording in recordings:
    audio, rate = soundfile.read(recording, dtype="float32")
    stream = recogniser.create_stream()
    stream.accept_waveform(rate, audio)  # it resamples other rates itself
    recogniser.decode_stream(stream)
    print(f"{recording.name}: {stream.result.text.strip()}")
