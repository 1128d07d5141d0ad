"""Owns the enhancement head of RobustDistiller (methods 8): from student states to a mask on the noisy audio.

Letters beside the package's: S frames of the spectrogram (10 ms), K frequency bins.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from prune_ssl.distillation.frames import frame_mean, full_precision

FFT, HOP, WINDOW = 512, 160, 400
RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))  # FFT, hop, window
FLOOR = 1e-7  # of a magnitude, before its logarithm
RECORDED_LEVEL = 0.05
"""The root mean square of speech as it is recorded: 26 dB below full scale, ITU-T P.56's nominal level."""

EnhancementLoss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class EnhancementHead(nn.Module):
    """Three bidirectional LSTM layers that say how much of each bin is speech; dropped after training.

    Args:
        size: D of the states that it reads, 20 ms each.
        hidden: LSTM units in each direction.
        layers: LSTM layers.
        dropout: between them.
    """

    def __init__(self, size: int, hidden: int = 256, layers: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            size, hidden, layers, batch_first=True, bidirectional=True, dropout=dropout if layers > 1 else 0.0
        )
        self.output = nn.Linear(2 * hidden, FFT // 2 + 1)

    def forward(self, states: torch.Tensor, frames: int) -> torch.Tensor:
        """Map states (B, T, D) to a mask (B, S, K) in 0..1; a state serves two frames, the last the rest."""
        repeated = states.repeat_interleave(2, 1)[:, :frames]
        missing = frames - repeated.shape[1]
        if missing > 0:
            repeated = torch.cat([repeated, repeated[:, -1:].expand(-1, missing, -1)], 1)
        mask: torch.Tensor = self.output(self.lstm(repeated)[0]).sigmoid()
        return mask


def spectrogram(audio: torch.Tensor, fft: int = FFT, hop: int = HOP, window: int = WINDOW) -> torch.Tensor:
    """Map audio (B, N) to its complex STFT (B, S, K), centred; beyond the ends is silence."""
    shape = torch.hann_window(window, dtype=audio.dtype, device=audio.device)
    return torch.stft(audio, fft, hop, window, shape, pad_mode="constant", return_complex=True).mT


def valid_spectra(lengths: torch.Tensor, frames: int, hop: int = HOP) -> torch.Tensor:
    """Map numbers of samples (B,) to (B, S) bool, True on frames whose centre is within the audio."""
    return torch.arange(frames, device=lengths.device) <= (lengths // hop)[:, None]


@full_precision
def magnitude_l1(
    mask: torch.Tensor, noisy: torch.Tensor, clean: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Return mean |mask |X| - |S|| over bins and valid frames (RobustDistiller's default), a scalar.

    Args:
        mask: (B, S, K).
        noisy: audio (B, N), whose STFT is X; zeros beyond `lengths`.
        clean: audio (B, N), whose STFT is S.
        lengths: (B,) samples without padding.
    """
    error = (mask * spectrogram(noisy).abs() - spectrogram(clean).abs()).abs().mean(-1)
    return frame_mean(error, valid_spectra(lengths, error.shape[1]))


@full_precision
def multi_resolution(
    mask: torch.Tensor, noisy: torch.Tensor, clean: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Return half spectral convergence, half log-magnitude L1, the mean over three resolutions and the batch.

    Arguments as for `magnitude_l1`; the masked spectrogram goes back to audio with the noisy phase.
    """
    estimate = _to_audio(mask, noisy, lengths)
    losses = []
    for fft, hop, window in RESOLUTIONS:
        own, target = (spectrogram(each, fft, hop, window).abs() for each in (estimate, clean))
        valid = valid_spectra(lengths, own.shape[1], hop)
        own, target = (each.masked_fill(~valid[..., None], 0).clamp_min(FLOOR) for each in (own, target))
        convergence = (target - own).flatten(1).norm(dim=1) / target.flatten(1).norm(dim=1)
        logs = frame_mean((target.log() - own.log()).abs().mean(-1), valid)
        losses.append(0.5 * convergence.mean() + 0.5 * logs)
    return torch.stack(losses).mean()


@full_precision
def negative_si_sdr(
    mask: torch.Tensor, noisy: torch.Tensor, clean: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Return minus the scale-invariant signal-to-distortion ratio in dB, the mean over the batch.

    10 log10(|a s|^2 / |e - a s|^2), a = e.s / s.s, of zero-mean signals (Le Roux et al. 2019). Arguments as
    for `magnitude_l1`.
    """
    estimate = _centred(_to_audio(mask, noisy, lengths), lengths)
    target = _centred(clean, lengths)
    scale = (estimate * target).sum(1) / target.square().sum(1).clamp_min(FLOOR)
    projected = scale[:, None] * target
    ratio = projected.square().sum(1) / (estimate - projected).square().sum(1).clamp_min(FLOOR)
    return -10 * ratio.clamp_min(FLOOR).log10().mean()


def _within(audio: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return audio.masked_fill(torch.arange(audio.shape[1], device=audio.device) >= lengths[:, None], 0)


def _centred(audio: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return _within(audio - (_within(audio, lengths).sum(1) / lengths)[:, None], lengths)


def _to_audio(mask: torch.Tensor, noisy: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    shape = torch.hann_window(WINDOW, dtype=noisy.dtype, device=noisy.device)
    # Two frames more, masked as the last one: without them the end would be missing half its windows.
    spectra = spectrogram(F.pad(noisy, (0, 2 * HOP)))
    places = torch.arange(spectra.shape[1], device=noisy.device).minimum((lengths // HOP)[:, None])
    masked = (mask.gather(1, places[..., None].expand(-1, -1, mask.shape[2])) * spectra).mT
    audio = torch.istft(masked, FFT, HOP, WINDOW, shape, length=noisy.shape[1])
    return _within(audio, lengths)


PROPORTIONAL = frozenset({"magnitude"})
"""The enhancement losses that grow with the level of the audio. The others do not depend on it."""

ENHANCEMENT_LOSSES: dict[str, EnhancementLoss] = {
    "magnitude": magnitude_l1,
    "multi_resolution": multi_resolution,
    "si_sdr": negative_si_sdr,
}
"""Loss of the enhancement head by the name that a config gives it."""
