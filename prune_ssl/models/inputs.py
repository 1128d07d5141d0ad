"""The kinds of input that a model takes: its shape for a length of audio, what shortens time before it."""

from dataclasses import dataclass
from typing import Protocol

from transformers import PreTrainedConfig

SAMPLE_RATE_HZ = 16_000
FILTERBANK_KERNEL = (400, 160)  # 25 ms windows every 10 ms at 16 kHz

Kernels = tuple[tuple[int, int], ...]


class Input(Protocol):
    """One kind of input. Frames are counted from samples of 16 kHz audio, whatever the model reads."""

    @property
    def is_waveform(self) -> bool:
        """Whether the model reads samples."""

    def shape(self, seconds: float, config: PreTrainedConfig | None) -> tuple[int, ...]:
        """Return the shape of a batch of one clip of `seconds`."""

    def kernels(self) -> Kernels:
        """Return (kernel, stride) in samples, then in frames, of all that is done before the model."""


@dataclass(frozen=True)
class Waveform:
    """Samples (B, N), or (B, 1, N) with an axis of channels."""

    channel_axis: bool = False
    is_waveform = True

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


WAVEFORM = Waveform()


@dataclass(frozen=True)
class Filterbank:
    """Features (B, T, F): windows of 25 ms every 10 ms, `stack` of which make one frame."""

    stack: int
    width_field: str
    """Config field of F."""
    is_waveform = False

    def shape(self, seconds: float, config: PreTrainedConfig | None) -> tuple[int, ...]:
        """Return (1, T, F)."""
        window, hop = FILTERBANK_KERNEL
        windows = max((round(seconds * SAMPLE_RATE_HZ) - window) // hop + 1, 0)
        return 1, -(-windows // self.stack), int(getattr(config, self.width_field))

    def kernels(self) -> Kernels:
        """Return the window's and the stacking's."""
        return FILTERBANK_KERNEL, (1, self.stack)
