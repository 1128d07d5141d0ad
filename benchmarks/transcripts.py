"""Count the clips that a recogniser transcribes alike in PyTorch and in the speech runtimes.

    python benchmarks/transcripts.py MODEL data/an4_asr/test

MODEL is the folder of a CTC model, dense or pruned. CLIPS is a folder of recordings.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prune_ssl.cli.console import quiet_libraries
from prune_ssl.data.audio import SAMPLE_RATE_HZ, read_waveform
from prune_ssl.data.files import AUDIO_SUFFIXES
from prune_ssl.exporting import write_export
from prune_ssl.tasks.inference import transcribe
from prune_ssl.writing import temporary_folder

Clips = Sequence[NDArray[np.float32]]


def by_sherpa(folder: Path, clips: Clips) -> list[str]:
    """Transcribe clips with sherpa-onnx."""
    import sherpa_onnx

    recogniser = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(
        model=str(folder / "model.onnx"), tokens=str(folder / "tokens.txt")
    )
    texts = []
    for clip in clips:
        stream = recogniser.create_stream()
        stream.accept_waveform(SAMPLE_RATE_HZ, clip)
        recogniser.decode_stream(stream)
        texts.append(stream.result.text)
    return texts


def by_onnx_asr(folder: Path, clips: Clips) -> list[str]:
    """Transcribe clips with onnx-asr, one at a time."""
    sys.path.insert(0, str(folder))
    load = __import__("waveform_ctc").load
    model = load(folder)
    return [model.recognize([clip], sample_rate=SAMPLE_RATE_HZ)[0] for clip in clips]


RUNTIMES: dict[str, Callable[[Path, Clips], list[str]]] = {"sherpa-onnx": by_sherpa, "onnx-asr": by_onnx_asr}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("clips", type=Path)
    args = parser.parse_args()
    quiet_libraries()
    files = sorted(path for path in args.clips.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    wanted = [text.split() for _, text in transcribe(args.model, files)]
    heard = [np.asarray(read_waveform(file, SAMPLE_RATE_HZ), np.float32) for file in files]
    for target, run in RUNTIMES.items():
        with temporary_folder() as folder:
            made = write_export(args.model, folder / "out", target)
            found = [text.split() for text in run(made.folder, heard)]
        alike = sum(one == other for one, other in zip(found, wanted, strict=True))
        words = sum(map(len, wanted))
        print(f"{target}: {alike} of {len(files)} transcripts equal PyTorch's ({words} words)")
        for file, one, other in zip(files, found, wanted, strict=True):
            if one != other:
                print(f"  {file.name}: {' '.join(one)} | {' '.join(other)}")


if __name__ == "__main__":
    main()
