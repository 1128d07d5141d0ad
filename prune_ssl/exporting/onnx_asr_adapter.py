"""Load this folder with onnx-asr: `load(folder).recognize("speech.wav")`. It needs only onnx-asr and numpy.

onnx-asr has no model type for CTC graphs that take the waveform itself, so this file adds one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx_asr.adapters import TextResultsAsrAdapter
from onnx_asr.asr import _AsrWithCtcDecoding
from onnx_asr.loader import Manager
from onnx_asr.preprocessors.preprocessor import IdentityPreprocessor
from onnx_asr.preprocessors.resampler import Resampler

Floats = npt.NDArray[np.float32]
Lengths = npt.NDArray[np.int64]


FILES = {"model": "model.onnx", "vocab": "vocab.txt"}


class WaveformCtc(_AsrWithCtcDecoding):
    """A CTC model on normalised 16 kHz audio. `config.json` holds the number of samples per frame."""

    def __init__(self, files: dict[str, Path], preprocessor: Callable[[str], Any], options: Any) -> None:
        super().__init__(files, preprocessor, options)
        self._session = onnxruntime.InferenceSession(files["model"], **options)

    @staticmethod
    def _get_model_files(quantization: str | None = None) -> dict[str, str]:
        return FILES

    @property
    def _preprocessor_name(self) -> str:
        return "identity"

    @property
    def _subsampling_factor(self) -> int:
        settings: Any = self.config
        return round(int(settings["samples_per_frame"]) / 160)  # in windows of 10 ms

    def _encode(self, waveforms: Floats, lengths: Lengths) -> tuple[Floats, Lengths]:
        """Normalise and run one clip at a time, because the graph takes no mask and would read padding."""
        found = []
        for waveform, length in zip(waveforms, lengths, strict=True):
            clip = waveform[:length]
            clip = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
            (logits,) = self._session.run(None, {self._session.get_inputs()[0].name: clip[None]})[:1]
            shifted = logits[0] - logits[0].max(axis=-1, keepdims=True)
            found.append(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
        frames = np.array([len(each) for each in found], dtype=np.int64)
        padded = np.zeros((len(found), frames.max(), found[0].shape[-1]), dtype=np.float32)
        for row, each in zip(padded, found, strict=True):
            row[: len(each)] = each
        return padded, frames


def load(folder: str | Path = Path(__file__).parent, **options: Any) -> TextResultsAsrAdapter:
    """Load the folder's model. `options` are those of onnx-asr, such as `providers=[...]`."""
    folder = Path(folder)
    manager = Manager(**options)
    files = {kind: folder / name for kind, name in ({"config": "config.json"} | FILES).items()}
    model = WaveformCtc(files, lambda _name: IdentityPreprocessor(), manager.default_onnx_config)
    return TextResultsAsrAdapter(model, Resampler(16_000, manager.resampler_config))
