"""The kinds of input that a model takes: its shape for a length of audio, what shortens time before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import transformers
from transformers import PreTrainedConfig, SequenceFeatureExtractor

from prune_ssl.errors import ModelError

SAMPLE_RATE_HZ = 16_000
FILTERBANK_KERNEL = (400, 160)  # 25 ms windows every 10 ms at 16 kHz
MEL_KERNEL = (160, 160)  # centred windows every 10 ms, whose last one is left out

Kernels = tuple[tuple[int, int], ...]


class Input(Protocol):
    """One kind of input. Frames are counted from samples of 16 kHz audio, whatever the model reads."""

    @property
    def name(self) -> str:
        """Name of the model's argument that takes the audio."""

    @property
    def mask(self) -> str:
        """Name of the model's argument that says where padding is, "" where the model has none."""

    @property
    def extractor(self) -> str:
        """Class of transformers that makes the input of samples, "" where recipes do not know it."""

    @property
    def time_axis(self) -> int | None:
        """Axis of a batch that counts samples or frames, None where its length is fixed."""

    def shape(self, seconds: float, config: PreTrainedConfig | None) -> tuple[int, ...]:
        """Return the shape of a batch of one clip of `seconds`."""

    def kernels(self) -> Kernels:
        """Return (kernel, stride) in samples, then in frames, of all that is done before the model."""

    def fixed_samples(self, config: PreTrainedConfig | None) -> int | None:
        """Return the samples to which all audio is padded or cut, None where any length is taken as it is."""

    def tiny(self) -> dict[str, int]:
        """Return fields of a config that make the input small, for a smoke run."""

    def new_extractor(self, config: PreTrainedConfig) -> SequenceFeatureExtractor:
        """Return the feature extractor of a model that is made from `config` with random weights.

        Raises:
            ModelError: no extractor makes what such a model takes.
        """


@dataclass(frozen=True)
class Waveform:
    """Samples (B, N), or (B, 1, N) with an axis of channels."""

    channel_axis: bool = False
    mask: str = "attention_mask"
    extractor: str = "Wav2Vec2FeatureExtractor"
    name = "input_values"

    @property
    def time_axis(self) -> int:
        """The last one."""
        return 1 + self.channel_axis

    def shape(self, seconds: float, config: PreTrainedConfig | None) -> tuple[int, ...]:
        """Return (1, N) or (1, 1, N).

        >>> Waveform(channel_axis=True).shape(0.5, None)
        (1, 1, 8000)
        """
        samples = round(seconds * SAMPLE_RATE_HZ)
        return (1, 1, samples) if self.channel_axis else (1, samples)

    def kernels(self) -> Kernels:
        """Return nothing: the model's own convolutions come first."""
        return ()

    def fixed_samples(self, config: PreTrainedConfig | None) -> int | None:
        """Return None: any length is taken."""
        return None

    def tiny(self) -> dict[str, int]:
        """Return nothing: the clips are short."""
        return {}

    def new_extractor(self, config: PreTrainedConfig) -> SequenceFeatureExtractor:
        """Return one that normalises; models with a group norm were trained on padding without a mask."""
        masked = getattr(config, "feat_extract_norm", "layer") == "layer"
        return _made(self.extractor, {"do_normalize": True, "return_attention_mask": masked})


WAVEFORM = Waveform()


@dataclass(frozen=True)
class Filterbank:
    """Features (B, T, F): windows of 25 ms every 10 ms, `stack` of which make one frame."""

    stack: int
    width_field: str
    """Config field of F."""
    name = "input_features"
    mask = "attention_mask"
    extractor = ""
    time_axis = 1

    def shape(self, seconds: float, config: PreTrainedConfig | None) -> tuple[int, ...]:
        """Return (1, T, F)."""
        window, hop = FILTERBANK_KERNEL
        windows = max((round(seconds * SAMPLE_RATE_HZ) - window) // hop + 1, 0)
        return 1, -(-windows // self.stack), int(getattr(config, self.width_field))

    def kernels(self) -> Kernels:
        """Return the window's and the stacking's."""
        return FILTERBANK_KERNEL, (1, self.stack)

    def fixed_samples(self, config: PreTrainedConfig | None) -> int | None:
        """Return None: any length is taken."""
        return None

    def tiny(self) -> dict[str, int]:
        """Return nothing: the clips are short."""
        return {}

    def new_extractor(self, config: PreTrainedConfig) -> SequenceFeatureExtractor:
        """Refuse: recipes do not make these features.

        Raises:
            ModelError: always.
        """
        raise ModelError("recipes make no filterbank features; train the model with the Python API.")


@dataclass(frozen=True)
class LogMel:
    """A log-mel spectrogram (B, F, T) of a fixed length: all audio is padded or cut to it.

    T is twice the config's number of positions; a window starts every 10 ms.
    """

    width_field: str
    """Config field of F."""
    positions_field: str
    """Config field of the frames behind the model's convolutions, which halve time."""
    extractor: str
    name = "input_features"
    mask = ""
    time_axis = None

    def shape(self, seconds: float, config: PreTrainedConfig | None) -> tuple[int, ...]:
        """Return (1, F, T), whatever the length of the audio.

        >>> from transformers import WhisperConfig
        >>> mel = LogMel("num_mel_bins", "max_source_positions", "WhisperFeatureExtractor")
        >>> mel.shape(2.0, WhisperConfig()), mel.fixed_samples(WhisperConfig()) // 16_000
        ((1, 80, 3000), 30)
        """
        return 1, int(getattr(config, self.width_field)), self._windows(config)

    def kernels(self) -> Kernels:
        """Return the window's."""
        return (MEL_KERNEL,)

    def fixed_samples(self, config: PreTrainedConfig | None) -> int | None:
        """Return the samples of all windows."""
        return self._windows(config) * MEL_KERNEL[1]

    def tiny(self) -> dict[str, int]:
        """Return 16 bands and a second."""
        return {self.width_field: 16, self.positions_field: 50}

    def new_extractor(self, config: PreTrainedConfig) -> SequenceFeatureExtractor:
        """Return the extractor that pads and cuts to the model's length.

        Raises:
            ModelError: that length is no whole number of seconds, which the extractor wants.
        """
        seconds, rest = divmod(self._windows(config) * MEL_KERNEL[1], SAMPLE_RATE_HZ)
        if rest:
            found = getattr(config, self.positions_field)
            raise ModelError(
                f"{self.positions_field}: found {found}, wanted a multiple of 50: the feature extractor pads "
                "audio to whole seconds."
            )
        return _made(
            self.extractor, {"feature_size": getattr(config, self.width_field), "chunk_length": seconds}
        )

    def _windows(self, config: PreTrainedConfig | None) -> int:
        return 2 * int(getattr(config, self.positions_field))


def _made(name: str, settings: Mapping[str, object]) -> SequenceFeatureExtractor:
    made: SequenceFeatureExtractor = getattr(transformers, name)(**settings)
    return made
