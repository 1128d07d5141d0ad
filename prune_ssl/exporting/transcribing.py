"""Transcribe audio with the speech runtimes, from the folders that were written for them."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from prune_ssl.data import SAMPLE_RATE_HZ, Waveform
from prune_ssl.errors import ExportError

Transcriber = Callable[[Waveform], str]
"""Maps a waveform (N,) at 16 kHz, as it was recorded, to its text."""


def open_sherpa(folder: Path) -> Transcriber:
    """Open a folder in sherpa-onnx."""
    import sherpa_onnx

    recogniser = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(
        model=str(folder / "model.onnx"), tokens=str(folder / "tokens.txt")
    )

    def transcribe(samples: Waveform) -> str:
        stream = recogniser.create_stream()
        stream.accept_waveform(SAMPLE_RATE_HZ, samples)
        recogniser.decode_stream(stream)
        return str(stream.result.text)

    return transcribe


def open_onnx_asr(folder: Path) -> Transcriber:
    """Open a folder in onnx-asr."""
    from prune_ssl.exporting.onnx_asr_adapter import load

    adapter = load(folder)

    def transcribe(samples: Waveform) -> str:
        return str(adapter.recognize(samples, sample_rate=16_000))

    return transcribe


TRANSCRIBERS: dict[str, Callable[[Path], Transcriber]] = {
    "sherpa-onnx": open_sherpa,
    "onnx-asr": open_onnx_asr,
}
"""The opener of each target whose output is text. Each key is the name of the package on PyPI too."""


def require_runtime(target: str) -> None:
    """Refuse to judge texts of a runtime that is not installed. Writing its files needs no runtime.

    Raises:
        ExportError: the runtime's package is not installed.
    """
    if target in TRANSCRIBERS and not find_spec(target.replace("-", "_")):
        raise ExportError(
            f"judging {target} on a corpus needs its runtime, which this environment lacks: "
            f"pip install {target}."
        )
