"""Noise and rooms of folders in ordinary training: what is heard, random streams, keys, refusals."""

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from prune_ssl.data import Augmentation, read_waveform
from prune_ssl.data.corruption import reverberate
from prune_ssl.data.recordings import Recordings
from prune_ssl.errors import DataError, RecipeError
from prune_ssl.pipeline import dry_run
from prune_ssl.pipeline.corpora import augmentation_of
from prune_ssl.recipes.smoke import smoke_version
from prune_ssl.training.seeded_items import SeededItems
from tests.support.folders import tone
from tests.support.paths import WORDS
from tests.support.words import clips_of, recipe_of

STILL = {"speeds": (1.0,), "max_shift_seconds": 0.0, "max_gain_db": 0.0}


def speech(samples: int = 8_000) -> np.ndarray:
    time = np.arange(samples) / 16_000
    return (0.3 * np.sin(2 * np.pi * 220 * time) * np.sin(9 * time)).astype(np.float32)


def folder_of(path: Path, *clips: np.ndarray, rate: int = 16_000) -> Path:
    (path / "sub").mkdir(parents=True)
    for index, clip in enumerate(clips):
        soundfile.write(path / "sub" / f"{index}.wav", clip, rate, subtype="FLOAT")
    return path


def test_pieces_come_from_everywhere_in_a_file_and_short_ones_are_repeated(tmp_path: Path) -> None:
    ramp = np.arange(1, 16_001, dtype=np.float32) / 16_000
    long = Recordings.of(folder_of(tmp_path / "long", ramp))
    starts = []
    for _ in range(50):
        piece = long.piece(1_600)
        assert torch.allclose(piece.diff(), torch.full((1_599,), 1 / 16_000), atol=1e-6)  # in one run
        starts.append(float(piece[0]))
    assert min(starts) < 0.2
    assert max(starts) > 0.7
    short = Recordings.of(folder_of(tmp_path / "short", ramp[:300]))
    assert torch.equal(short.piece(700), torch.from_numpy(np.tile(ramp[:300], 3)[:700]))
    slow = Recordings.of(folder_of(tmp_path / "slow", speech(4_000), rate=8_000))
    assert slow.piece(6_000).shape == (6_000,)
    assert slow.whole().shape == (8_000,)


def test_a_file_is_read_from_a_given_second_on(tmp_path: Path) -> None:
    clip = speech(16_000)
    path = folder_of(tmp_path, clip) / "sub" / "0.wav"
    assert np.array_equal(read_waveform(path, max_seconds=0.25, start_seconds=0.5), clip[8_000:12_000])
    assert np.array_equal(read_waveform(path, start_seconds=0.5), clip[8_000:])


def test_noise_of_a_folder_comes_at_the_asked_ratio(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 1_000 * np.arange(40_000) / 16_000).astype(np.float32)
    folder = folder_of(tmp_path, tone)
    augmentation = Augmentation(**STILL, noise=folder, noise_probability=1.0, snr_db=(5.0, 5.0))
    clip = speech()
    noise = augmentation(clip) - clip
    assert 10 * np.log10(np.mean(clip**2) / np.mean(noise**2)) == pytest.approx(5.0, abs=0.01)
    spectrum = np.abs(np.fft.rfft(noise))
    assert spectrum.argmax() == 500  # 1 kHz of a folder, not white noise


def test_rooms_are_those_of_the_folder_or_simulated(tmp_path: Path) -> None:
    rir = np.zeros(400, dtype=np.float32)
    rir[[20, 300]] = 1.0, 0.6
    clip = speech()
    given = Augmentation(
        **STILL, noise_probability=0.0, rirs=folder_of(tmp_path, rir), reverb_probability=1.0
    )
    wanted = reverberate(torch.from_numpy(clip), torch.from_numpy(rir)).numpy()
    assert np.allclose(given(clip), wanted)
    assert not np.allclose(given(clip), clip, atol=0.01)
    simulated = Augmentation(**STILL, noise_probability=0.0, reverb_probability=1.0)
    assert simulated(clip).shape == clip.shape
    assert not np.allclose(simulated(clip), simulated(clip)), "a new room each time"
    sometimes = Augmentation(**STILL, noise_probability=0.0, reverb_probability=0.5)
    heard = sum(np.array_equal(sometimes(clip), clip) for _ in range(100))
    assert 30 < heard < 70


def test_a_silent_piece_of_noise_changes_nothing(tmp_path: Path) -> None:
    silent = Augmentation(
        **STILL, noise=folder_of(tmp_path, np.zeros(9_000, np.float32)), noise_probability=1.0
    )
    assert np.array_equal(silent(speech()), speech())


def test_the_same_epoch_index_and_phase_hear_the_same(tmp_path: Path) -> None:
    noise = folder_of(tmp_path, np.random.default_rng(0).standard_normal(60_000).astype(np.float32))
    recipe = recipe_of(f"data.augment={{noise: {noise}, noise_probability: 1.0, reverb_probability: 1.0}}")

    def heard(phase: str, epoch: int) -> np.ndarray:
        items = SeededItems(clips_of(recipe), seed=1, phase=phase)
        items.epoch.fill_(epoch)
        samples: np.ndarray = items[3]["input_values"]
        return samples

    first = heard("pruning", 0)
    torch.manual_seed(99)
    assert np.array_equal(heard("pruning", 0), first)
    for phase, epoch in (("recovery", 0), ("pruning", 1)):
        other = heard(phase, epoch)
        assert other.shape != first.shape or not np.array_equal(other, first)


def test_recipe_keys() -> None:
    assert augmentation_of(recipe_of("data.augment=true").data) == Augmentation()
    assert augmentation_of(recipe_of("data.augment=false").data) is None
    chosen = augmentation_of(recipe_of("data.augment={speeds: [0.8, 1.2], reverb_probability: 0.3}").data)
    assert chosen == Augmentation(speeds=(0.8, 1.2), reverb_probability=0.3)
    small = smoke_version(recipe_of("data.augment={noise: gone, rirs: gone, reverb_probability: 0.3}"))
    assert small.data.augment is not None
    assert (small.data.augment.noise, small.data.augment.rirs) == (None, None)
    assert small.data.augment.reverb_probability == 0.3


@pytest.mark.slow
def test_what_cannot_be_is_refused_before_any_training(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown key 'data\.augment\.noice'; did you mean 'noise'"):
        recipe_of("data.augment={noice: musan}")
    with pytest.raises(RecipeError, match=r"data\.augment\.speeds: .*wanted speeds above 0"):
        recipe_of("data.augment={speeds: [0.0]}")
    with pytest.raises(RecipeError, match="both name noise or rooms"):
        recipe_of("data.augment={noise: musan}", "data.corruption={cases: [noise]}")
    with pytest.raises(RecipeError, match=r"data\.augment\.rirs: .*but reverb_probability is 0"):
        recipe_of(f"data.augment={{rirs: {WORDS}}}")
    (tmp_path / "empty").mkdir()
    for folder, message in ((tmp_path / "gone", "no such folder"), (tmp_path / "empty", "no audio file")):
        recipe = recipe_of(f"data.augment={{noise: {folder}}}", f"output={tmp_path}/out")
        with pytest.raises(DataError, match=message):
            dry_run(recipe, say=lambda line: None)
    with pytest.raises(DataError, match=r"snr_db: found 9\.0 to 1\.0"):
        Augmentation(snr_db=(9.0, 1.0))


def test_augmentation_changes_a_copy_and_repeats_with_the_seed() -> None:
    samples = tone(0.5)
    before = samples.copy()
    augmentation = Augmentation()
    torch.manual_seed(3)
    first = [augmentation(samples) for _ in range(8)]
    torch.manual_seed(3)
    again = [augmentation(samples) for _ in range(8)]
    np.testing.assert_array_equal(samples, before)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == np.float32
        assert np.isfinite(one).all()
    assert len({len(one) for one in first}) > 1  # several speeds
    assert not np.array_equal(first[0], first[1])


def test_augmentation_adds_noise_at_the_asked_ratio() -> None:
    samples = tone(1.0)
    torch.manual_seed(0)
    quiet = Augmentation(
        speeds=(1.0,), max_shift_seconds=0, max_gain_db=0, noise_probability=1.0, snr_db=(20, 20)
    )
    noise = quiet(samples) - samples
    assert 10 * np.log10((samples**2).mean() / (noise**2).mean()) == pytest.approx(20, abs=0.1)


def test_augmentation_with_nothing_to_do_is_the_identity() -> None:
    still = Augmentation(speeds=(1.0,), max_shift_seconds=0, max_gain_db=0, noise_probability=0)
    np.testing.assert_array_equal(still(tone()), tone())


def test_a_shift_moves_samples_and_fills_with_zeros() -> None:
    shift = Augmentation(speeds=(1.0,), max_shift_seconds=0.01, max_gain_db=0, noise_probability=0)
    samples = np.arange(1, 1_601, dtype=np.float32)
    torch.manual_seed(1)
    for _ in range(10):
        moved = shift(samples)
        offset = int(moved.argmax()) - int(samples.argmax()) if moved[-1] < 1_600 else None
        kept = moved[moved > 0]
        assert 1_440 <= len(kept) <= 1_600
        assert np.all(np.diff(kept) == 1)  # one unbroken run of the original
        assert offset is None or offset <= 0


def test_a_negative_augmentation_bound_is_refused() -> None:
    with pytest.raises(DataError, match="max_gain_db: found -1, wanted 0 or more"):
        Augmentation(max_gain_db=-1)


def test_odd_speeds_take_no_more_than_usual_ones() -> None:
    torch.manual_seed(0)
    augmentation = Augmentation(speeds=(0.93713,), noise_probability=0, max_gain_db=0, max_shift_seconds=0)
    began = time.process_time()
    assert len(augmentation(tone(1.0))) == -(-16_000 * 16_000 // 14_994)
    assert time.process_time() - began < 3
    for speed in (1e-6, 1e6, float("nan")):
        with pytest.raises(DataError, match=r"speeds: .*wanted (speeds from 0\.1 to 10|a list of a finite)"):
            Augmentation(speeds=(speed,))
