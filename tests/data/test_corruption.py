"""Corrupted audio: exact SNR, reverberation in time with the clip, every case, pairs of clips."""

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2FeatureExtractor

from prune_ssl.data import CorruptedDataset, Corruption, SpeechCollator
from prune_ssl.data.corruption import add_noise, reverberate, simulated_rir
from prune_ssl.distillation.enhancement import magnitude_l1, spectrogram
from prune_ssl.errors import DataError


def speech(samples=16_000):
    time = torch.arange(samples) / 16_000
    return torch.sin(2 * torch.pi * 220 * time) * (time * 9).sin()


def folder_of(path, *clips):
    (path / "sub").mkdir(parents=True)
    for index, clip in enumerate(clips):
        soundfile.write(path / "sub" / f"{index}.wav", np.asarray(clip), 16_000, subtype="FLOAT")
    return path


@pytest.mark.parametrize("snr_db", [0.0, 5.0, 20.0])
def test_noise_comes_at_the_ratio_that_is_asked(snr_db):
    audio, noise = speech(), torch.randn(16_000) * 7
    noisy = add_noise(audio, noise, snr_db)
    ratio = audio.square().mean() / (noisy - audio).square().mean()
    assert float(10 * ratio.log10()) == pytest.approx(snr_db, abs=1e-3)
    assert torch.equal(add_noise(audio, torch.zeros(16_000), snr_db), audio)


def test_reverberation_keeps_time_and_power():
    rir = torch.zeros(900)
    rir[300], rir[700] = 1.0, 0.5
    audio = torch.zeros(4000)
    audio[1000] = 1.0
    wet = reverberate(audio, rir)
    assert wet.shape == audio.shape
    assert int(wet.argmax()) == 1000  # the direct path, where the dry impulse was
    assert float(wet[1400] / wet[1000]) == pytest.approx(0.5, rel=1e-3)
    assert float(wet.square().sum()) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("rt60", [0.2, 0.8])
def test_a_simulated_room_decays_by_60_db_in_its_reverberation_time(rt60):
    energy = torch.stack([simulated_rir(rt60)[32:].square() for _ in range(50)]).mean(0)
    remaining = energy.flip(0).cumsum(0).flip(0).log10() * 10
    slope = (remaining[int(0.5 * len(remaining))] - remaining[0]) / (0.5 * len(remaining) / 16_000)
    assert float(slope * rt60) == pytest.approx(-60, abs=3)
    assert float(simulated_rir(rt60).abs().argmax()) == 0


@pytest.mark.parametrize(
    ("case", "changes"), [("clean", False), ("noise", True), ("reverb", True), ("both", True)]
)
def test_every_case_does_what_it_says(case, changes, tmp_path):
    noise = folder_of(tmp_path / "noise", np.ones(500), np.full(9000, -1.0))
    rirs = folder_of(tmp_path / "rirs", np.array([0.0, 1.0, 0.3]))
    corruption = Corruption(noise=noise, rirs=rirs, cases=(case,), white_probability=0.0)
    clip = speech(4000).numpy()
    for _ in range(5):
        found = corruption(clip)
        assert found.dtype == np.float32
        assert found.shape == clip.shape
        assert np.isfinite(found).all()
        assert (not np.allclose(found, clip)) == changes
        if case == "noise":
            assert np.ptp(found - clip) < 1e-5  # a constant: the noise of the folder, not white noise


def test_the_order_of_noise_and_room_is_an_option(tmp_path):
    """A room that delays half of the sound by 2,000 samples delays noise that came before it, too."""
    rir = np.zeros(8000)
    rir[0], rir[2000] = 1.0, 0.9
    rirs = folder_of(tmp_path / "rirs", rir)
    clip = speech(8000).numpy()

    def echo(order):
        torch.manual_seed(0)
        corruption = Corruption(rirs=rirs, cases=("both",), snr_db=(-40.0, -40.0), order=order)
        heard = corruption(clip)  # nearly noise alone
        return np.corrcoef(heard[2000:], heard[:-2000])[0, 1]

    assert echo("noise_first") > 0.3
    assert abs(echo("room_first")) < 0.1
    with pytest.raises(DataError, match="order: found 'room'"):
        Corruption(order="room")


def test_all_cases_come_about_equally_often():
    torch.manual_seed(0)
    corruption = Corruption(cases=("noise", "clean"))
    clip = speech(800).numpy()
    clean = sum(np.array_equal(corruption(clip), clip) for _ in range(200))
    assert 75 < clean < 125


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cases": ("hiss",)}, "cases: found"),
        ({"cases": ()}, "cases: found"),
        ({"snr_db": (20.0, 0.0)}, "snr_db: found 20.0 to 0.0"),
        ({"rt60_seconds": (0.0, 1.0)}, "rt60_seconds"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(DataError, match=message):
        Corruption(**settings)


def test_folders_without_usable_audio_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no audio file"):
        Corruption(noise=tmp_path / "empty")
    with pytest.raises(DataError, match="silent"):
        Corruption(rirs=folder_of(tmp_path / "silent", np.zeros(100)))


def collated(*lengths, snr_db=10.0, normalize=True):
    clean = [{"input_values": 0.1 * speech(n).numpy() + 0.01, "labels": 1} for n in lengths]
    dataset = CorruptedDataset(clean, Corruption(cases=("noise",), snr_db=(snr_db, snr_db)))
    extractor = Wav2Vec2FeatureExtractor(do_normalize=normalize)
    batch = SpeechCollator(extractor, lengths=True)([dataset[each] for each in range(len(dataset))])
    return batch, SpeechCollator(extractor)(clean)["input_values"]


def test_student_and_teacher_hear_the_same_clip():
    batch, plain = collated(3000, 2000)
    assert torch.equal(batch["teacher_normalized_values"], plain), "what the teacher hears has its own gain"
    assert batch["input_values"].shape == (2, 3000)
    assert batch["input_lengths"].tolist() == [3000, 2000]
    assert not torch.allclose(batch["input_values"], plain, atol=0.01)
    for name in ("input_values", "teacher_input_values"):
        assert float(batch[name][1, 2000:].abs().max()) == 0
    correlation = torch.corrcoef(torch.stack([batch["input_values"][0], plain[0]]))[0, 1]
    assert float(correlation) > 0.9


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_noisy_and_clean_audio_have_one_gain(snr_db, normalize):
    batch, plain = collated(16_000, 12_000, snr_db=snr_db, normalize=normalize)
    noisy, clean = batch["input_values"], batch["teacher_input_values"]
    for row, samples in enumerate((16_000, 12_000)):
        own, noise = clean[row, :samples], (noisy - clean)[row, :samples]
        speech_power = own.var() + (0 if normalize else own.mean() ** 2)
        assert float(10 * (speech_power / noise.var()).log10()) == pytest.approx(snr_db, abs=0.2)
    assert ("teacher_normalized_values" in batch) == normalize
    if not normalize:
        assert torch.equal(clean, plain)


def test_the_best_mask_leaves_little_of_the_enhancement_loss_at_0_db():
    torch.manual_seed(0)
    batch, plain = collated(16_000, snr_db=0.0)
    noisy, lengths = batch["input_values"], batch["input_lengths"]

    def floor(clean):
        mask = (spectrogram(clean).abs() / spectrogram(noisy).abs()).clamp(0, 1)
        return float(magnitude_l1(mask, noisy, clean, lengths))

    assert floor(batch["teacher_input_values"]) <= 0.15
    assert floor(plain) > 2 * floor(batch["teacher_input_values"]), "with a gain of its own it is far higher"
