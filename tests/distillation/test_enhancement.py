"""The enhancement losses against literal numpy, padding, gradients, and robust distillation as a whole."""

import numpy as np
import pytest
import torch

from prune_ssl import DistillationConfig, DistillationTrainer
from prune_ssl.data import CorruptedDataset, Corruption, SpeechCollator
from prune_ssl.distillation import ENHANCEMENT_LOSSES, Distiller, EnhancementHead
from prune_ssl.distillation.enhancement import spectrogram
from prune_ssl.errors import DistillationError
from tests.support.models import tiny_model
from tests.support.training import Tones, arguments

LENGTHS = (1500, 1100)
SPECTRA = 1 + 1500 // 160


def batch(grad=False):
    noisy, clean = (torch.randn(2, 1500, dtype=torch.float64) for _ in range(2))
    noisy[1, 1100:] = clean[1, 1100:] = 0
    mask = torch.rand(2, SPECTRA, 257, dtype=torch.float64).requires_grad_(grad)
    return mask, noisy, clean, torch.tensor(LENGTHS)


# -- literal versions, one frame at a time


def hann(size):
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)


def literal_stft(audio, fft=512, hop=160, window=400):
    padded = np.concatenate([np.zeros(fft // 2), audio, np.zeros(fft // 2)])
    left = (fft - window) // 2
    shape = np.zeros(fft)
    shape[left : left + window] = hann(window)
    return np.stack([np.fft.rfft(padded[i * hop :][:fft] * shape) for i in range(1 + len(audio) // hop)])


def literal_istft(spectra, length, fft=512, hop=160, window=400):
    left = (fft - window) // 2
    shape = np.zeros(fft)
    shape[left : left + window] = hann(window)
    total, norm = np.zeros(length + 2 * fft), np.zeros(length + 2 * fft)
    for i, row in enumerate(spectra):
        total[i * hop :][:fft] += np.fft.irfft(row, fft) * shape
        norm[i * hop :][:fft] += shape**2
    end = fft // 2 + length
    norm[norm < 1e-11] = 1
    return total[fft // 2 : end] / norm[fft // 2 : end]


def utterances(mask, noisy, clean, lengths):
    yield from zip(mask.detach().numpy(), noisy.numpy(), clean.numpy(), lengths.tolist(), strict=True)


def estimate(m, x, n):
    rows = np.concatenate([m[: 1 + n // 160], m[[n // 160] * 2]])
    return literal_istft(rows * literal_stft(np.concatenate([x[:n], np.zeros(320)])), n)


def literal_magnitude(*arguments):
    found = []
    for m, x, s, n in utterances(*arguments):
        error = np.abs(m * np.abs(literal_stft(x)) - np.abs(literal_stft(s))).mean(1)
        found.append(error[: 1 + n // 160].mean())
    return np.mean(found)


def literal_multi_resolution(*arguments):
    found = []
    for fft, hop, window in ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)):
        for m, x, s, n in utterances(*arguments):
            own = np.maximum(np.abs(literal_stft(estimate(m, x, n), fft, hop, window)), 1e-7)
            target = np.maximum(np.abs(literal_stft(s[:n], fft, hop, window)), 1e-7)
            convergence = np.linalg.norm(target - own) / np.linalg.norm(target)
            found.append(0.5 * convergence + 0.5 * np.abs(np.log(target) - np.log(own)).mean())
    return np.mean(found)


def literal_si_sdr(*arguments):
    found = []
    for m, x, s, n in utterances(*arguments):
        e, c = estimate(m, x, n), s[:n] - s[:n].mean()
        e = e - e.mean()
        projected = (e @ c) / (c @ c) * c
        found.append(-10 * np.log10((projected @ projected) / ((e - projected) @ (e - projected))))
    return np.mean(found)


LITERAL = {
    "magnitude": literal_magnitude,
    "multi_resolution": literal_multi_resolution,
    "si_sdr": literal_si_sdr,
}


@pytest.mark.parametrize("name", ENHANCEMENT_LOSSES)
def test_an_enhancement_loss_is_its_formula(name):
    given = batch()
    found, wanted = float(ENHANCEMENT_LOSSES[name](*given)), float(LITERAL[name](*given))
    assert abs(found - wanted) <= 1e-9 * abs(wanted)


@pytest.mark.parametrize("name", ENHANCEMENT_LOSSES)
def test_padding_changes_no_enhancement_loss(name):
    mask, noisy, clean, lengths = batch()
    loss = ENHANCEMENT_LOSSES[name]
    alone = []
    for i, n in enumerate(LENGTHS):
        part = mask[i : i + 1, : 1 + n // 160]
        alone.append(float(loss(part, noisy[i : i + 1, :n], clean[i : i + 1, :n], lengths[i : i + 1])))
    assert float(loss(mask, noisy, clean, lengths)) == pytest.approx(np.mean(alone), rel=1e-6)


@pytest.mark.parametrize("name", ENHANCEMENT_LOSSES)
def test_gradients_of_enhancement_losses(name):
    mask, *rest = batch(grad=True)
    loss = ENHANCEMENT_LOSSES[name]
    loss(mask, *rest).backward()
    direction = torch.randn_like(mask)
    up, down = (float(loss((mask + step * direction).detach(), *rest)) for step in (1e-6, -1e-6))
    assert (up - down) / 2e-6 == pytest.approx(float((mask.grad * direction).sum()), rel=1e-4)


def test_a_perfect_mask_has_no_loss():
    _, noisy, _, lengths = batch()
    ones = torch.ones(2, SPECTRA, 257, dtype=torch.float64)
    assert float(ENHANCEMENT_LOSSES["magnitude"](ones, noisy, noisy, lengths)) == 0
    assert float(ENHANCEMENT_LOSSES["multi_resolution"](ones, noisy, noisy, lengths)) < 1e-6
    assert float(ENHANCEMENT_LOSSES["si_sdr"](ones, noisy, noisy, lengths)) < -60


def test_the_head_makes_one_mask_value_for_every_bin():
    head = EnhancementHead(8, hidden=4, layers=1)
    frames = spectrogram(torch.randn(1, 4000)).shape[1]
    mask = head(torch.randn(3, 12, 8), frames)
    assert mask.shape == (3, frames, 257)
    assert 0 < float(mask.detach().min()) < float(mask.detach().max()) < 1


@pytest.mark.parametrize("source", ["last", "frontend"])
def test_a_student_that_hears_noise_learns_from_a_teacher_that_does_not(tmp_path, source):
    class Waves(Tones):
        def __getitem__(self, index):
            return {"input_values": self.items[index]["input_values"].numpy()}

    teacher, student = tiny_model("hubert", "Model"), tiny_model("hubert", "Model", num_hidden_layers=1)
    keys = set(student.state_dict())
    config = DistillationConfig(
        losses={"l1": 1.0, "log_cosine": 1.0, "enhancement": 2.0},
        projection="heads",
        enhancement_input=source,
        task_weight=0,
    )
    corrupted = CorruptedDataset(Waves(16), Corruption(snr_db=(0.0, 10.0)))
    trainer = DistillationTrainer(
        model=student,
        args=arguments(tmp_path, max_steps=8, learning_rate=5e-3),
        distillation=config,
        teacher=teacher,
        train_dataset=corrupted,
        eval_dataset=CorruptedDataset(Waves(4), Corruption()),
        data_collator=SpeechCollator(lengths=True),
    )
    torch.manual_seed(0)
    before = trainer.evaluate()["eval_loss"]
    start = trainer.distiller.learned["enhancement"].output.weight.detach().clone()
    trainer.train()
    torch.manual_seed(0)
    assert trainer.evaluate()["eval_loss"] < before
    assert not torch.equal(trainer.distiller.learned["enhancement"].output.weight.detach(), start)
    assert set(student.state_dict()) == keys


@pytest.mark.parametrize("name", ENHANCEMENT_LOSSES)
def test_a_weight_means_the_same_for_audio_as_it_is_and_for_audio_of_unit_variance(name):
    """Speech at the nominal level of recordings, and the same speech as an extractor normalizes it."""
    teacher, student = tiny_model("hubert", "Model"), tiny_model("hubert", "Model")
    config = DistillationConfig(losses={"enhancement": 1.0}, enhancement=name, enhancement_units=4)
    distiller = Distiller(config, teacher, student)
    clean = 0.03 * torch.randn(1, 4000)
    raw = {"input_values": clean + 0.04 * torch.randn(1, 4000), "teacher_input_values": clean}
    loud = {key: value / 0.05 for key, value in raw.items()} | {"teacher_normalized_values": clean / 0.03}
    found = []
    distiller.learned.eval()
    for given in (raw, loud):
        with distiller.listening():
            student(loud["input_values"])  # the same mask
        found.append(float(distiller.loss(given, None).detach()))
    assert found[1] == pytest.approx(found[0], rel=1e-3)


def test_enhancement_without_clean_audio_is_refused():
    teacher, student = tiny_model("hubert", "Model"), tiny_model("hubert", "Model")
    distiller = Distiller(DistillationConfig(losses={"enhancement": 1.0}), teacher, student)
    with distiller.listening():
        student(torch.randn(1, 4000))
    with pytest.raises(DistillationError, match="no teacher_input_values, the clean audio"):
        distiller.loss({"input_values": torch.randn(1, 4000)}, None)


def test_a_head_on_the_frontend_keeps_its_channels_from_being_pruned():
    config = DistillationConfig(losses={"enhancement": 1.0}, enhancement_input="frontend")
    distiller = Distiller(config, tiny_model(), tiny_model())
    distiller.check_prunable(("heads", "ffn"))
    with pytest.raises(DistillationError, match="use enhancement_input='last'"):
        distiller.check_prunable(("conv", "heads", "ffn"))
