"""Speaker verification: trial lists, scores, heads, and a model that learns to tell two voices."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import EvalPrediction, Wav2Vec2Model

import prune_ssl
from prune_ssl.data import Clip, ClipDataset, SpeechFolder, Trial, all_pairs, find_trials, read_trials
from prune_ssl.errors import DataError
from prune_ssl.tasks import TaskSettings, Verification
from prune_ssl.tasks.verification import cosines, pools_padding, tdnn_frames
from prune_ssl.tasks.verification_metrics import equal_error_rate, min_detection_cost
from prune_ssl.training import SpeechTrainer
from tests.support.models import tiny_model
from tests.support.speakers import FOLDER, SHORT, TEST, TRAIN, clips_of
from tests.support.training import quiet_arguments


def test_pairs_are_all_or_so_many() -> None:
    pairs = all_pairs(TEST)
    assert len(pairs) == 15
    assert sum(pair.same for pair in pairs) == 6
    assert all(pair.same == (int(pair.first.stem) % 2 == int(pair.second.stem) % 2) for pair in pairs)
    few = all_pairs(TEST, limit=5)
    assert len(set(few)) == 5
    assert set(few) < set(pairs)


def clips_by(*speakers: str) -> list[Clip]:
    return [Clip(Path(f"{index}.wav"), speaker, 1.0) for index, speaker in enumerate(speakers)]


@pytest.mark.parametrize(("speakers", "clips"), [(2, 30), (7, 60), (9, 200)])
def test_pairs_are_drawn_as_from_a_list_where_enough_are_of_one_speaker(speakers: int, clips: int) -> None:
    given = clips_by(*(f"s{index % speakers}" for index in range(clips)))
    listed = list(combinations(given, 2))
    drawn = sorted(np.random.default_rng(3).choice(len(listed), size=400, replace=False).tolist())
    wanted = [
        Trial(one.path, other.path, one.target == other.target)
        for one, other in (listed[index] for index in drawn)
    ]
    assert list(all_pairs(given, limit=400, seed=3)) == wanted


@pytest.mark.parametrize(("repeats", "same"), [(4, 200), (2, 50)])
def test_half_of_the_pairs_are_of_one_speaker_where_hardly_any_would_be(repeats: int, same: int) -> None:
    given = clips_by(*[f"s{index}" for index in range(50)] * repeats)
    pairs = all_pairs(given, limit=400)
    assert len(set(pairs)) == 400
    assert sum(pair.same for pair in pairs) == same, "all that there are, if not half"
    rows = [(int(pair.first.stem), int(pair.second.stem)) for pair in pairs]
    assert all(first < second for first, second in rows)
    assert rows == sorted(rows)
    assert all(pair.same == ((one - other) % 50 == 0) for pair, (one, other) in zip(pairs, rows, strict=True))
    assert len({one % 50 for pair, (one, _) in zip(pairs, rows, strict=True) if pair.same}) > 40
    assert all_pairs(given, limit=400) == pairs != all_pairs(given, limit=400, seed=1)


def test_pairs_of_many_clips_are_drawn_without_listing_them() -> None:
    given = clips_by(*(f"s{index % 900}" for index in range(30_000)))  # 450 million pairs
    assert sum(pair.same for pair in all_pairs(given)) == 5_000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "sv_trials.csv",
            "split,file_1,file_2,same_speaker\ntest,a/1.wav,a/2.wav,1\ntest,a/1.wav,b/1.wav,0\n",
        ),
        ("veri_test.txt", "1 a/1.wav a/2.wav\n0 a/1.wav b/1.wav\n\n"),
    ],
)
def test_both_list_formats_are_read(tmp_path: Path, name: str, text: str) -> None:
    assert find_trials(tmp_path) is None
    (tmp_path / name).write_text(text)
    wanted = (
        Trial(tmp_path / "a/1.wav", tmp_path / "a/2.wav", True),
        Trial(tmp_path / "a/1.wav", tmp_path / "b/1.wav", False),
    )
    assert find_trials(tmp_path) == read_trials(tmp_path / name, tmp_path) == wanted
    assert find_trials(tmp_path, name) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "no trials"), ("1 a.wav\n", "trial 1 is '1 a.wav'"), ("a,b\nx,y\n", "trial 1 is 'a,b'")],
)
def test_a_bad_list_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        find_trials(tmp_path, "list.csv")
    with pytest.raises(DataError, match="not readable"):
        find_trials(tmp_path, "other.csv")


def test_scores_are_cosines() -> None:
    generator = np.random.default_rng(0)
    embeddings = generator.standard_normal((4, 5))
    pairs = np.array([[0, 1], [2, 3], [1, 1]])
    wanted = [
        embeddings[i] @ embeddings[j] / (np.linalg.norm(embeddings[i]) * np.linalg.norm(embeddings[j]))
        for i, j in pairs
    ]
    np.testing.assert_allclose(cosines(embeddings, pairs), wanted, rtol=1e-12)
    np.testing.assert_allclose(cosines(embeddings * 7, pairs), wanted, rtol=1e-12)


def test_judging_pairs_rows_with_their_clips() -> None:
    task = Verification.from_folder(FOLDER)
    shuffled = [TEST[index] for index in (3, 0, 5, 1, 4, 2)]
    generator = np.random.default_rng(0)
    by_clip = {clip.path: generator.standard_normal(3) for clip in TEST}
    embeddings = np.stack([by_clip[clip.path] for clip in shuffled])
    judge = task.judge(shuffled, tiny_model("wav2vec2", "ForXVector"))
    found = judge(EvalPrediction(("logits", embeddings), None))
    trials = all_pairs(shuffled)
    scores = [
        float(cosines(np.stack([by_clip[trial.first], by_clip[trial.second]]), np.array([[0, 1]]))[0])
        for trial in trials
    ]
    same = [trial.same for trial in trials]
    assert found["eer"] == equal_error_rate(scores, same)
    assert found["min_dcf"] == min_detection_cost(scores, same)
    assert found["trials"] == 15
    assert found["eer_low"] <= found["eer"] <= found["eer_high"]


def test_trials_about_other_clips_are_refused() -> None:
    task = Verification(("a", "b"), (Trial(Path("x.wav"), Path("y.wav"), True),))
    with pytest.raises(DataError, match="0 of 1 trials are about these 6 clips"):
        task.judge(TEST, tiny_model("wav2vec2", "ForXVector"))


def test_a_new_speaker_may_be_judged_but_not_trained() -> None:
    task = Verification.from_folder(FOLDER)
    assert [task.encode("high"), task.encode("low")] == [0, 1]
    assert task.encode_judged("mid") == 0
    with pytest.raises(DataError, match="'mid' is not in train"):
        task.encode("mid")
    with pytest.raises(DataError, match="two or more speakers"):
        Verification.from_folder(SpeechFolder(Path("v"), {"train": TRAIN[::2]}, ()))


def test_heads_for_other_speakers_get_a_new_loss_only() -> None:
    task = Verification(("a", "b", "c"))
    model = tiny_model("wav2vec2", "ForXVector")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    made = task.head.put_on(model)
    assert made is model
    assert made.objective.weight.shape == (model.config.xvector_output_dim, 3)
    assert task.head.fits(made)
    after = made.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if not name.startswith("objective"))
    kept = made.objective
    assert task.head.put_on(made).objective is kept
    fresh = task.head.put_on(tiny_model("wav2vec2", "Model"))
    assert fresh(torch.randn(2, 16_000), labels=torch.tensor([0, 2])).loss > 0
    assert task.head.fits(task.head.put_on(tiny_model("hubert")))


def test_short_clips_and_known_speakers_are_told() -> None:
    model = tiny_model("wav2vec2", "ForXVector")
    task = Verification.from_folder(FOLDER)
    assert list(task.check(FOLDER, model)) == [
        "test: 15 trials (all pairs), 6 of them of one speaker",
        "test: 2 of its speakers are in train too",
    ]
    needed = tdnn_frames(model)
    short = 320 * needed / 16_000  # one frame less than needed: the first takes 400 samples
    folder = SpeechFolder(Path("voices"), {"train": clips_of("train", "low", "high", seconds=short)}, ())
    with pytest.raises(DataError, match=f"give {needed - 1} frames, the x-vector head needs {needed}"):
        list(task.check(folder, model))
    model(torch.randn(1, 320 * needed + 80))  # exactly enough


def test_training_clips_must_be_long_enough_as_they_are_heard() -> None:
    model = tiny_model("wav2vec2", "ForXVector")
    task, needed = Verification.from_folder(FOLDER), tdnn_frames(model)
    enough = (320 * needed + 80) / 16_000
    clips = clips_of("train", "low", "high", seconds=enough * 1.05)
    folder = SpeechFolder(Path("voices"), {"train": clips, "test": TEST}, ())
    for settings in (TaskSettings(), TaskSettings(speed=1.04, crop_seconds=enough)):
        assert len(list(task.check(folder, model, settings))) == 2
    for settings in (TaskSettings(speed=1.1), TaskSettings(crop_seconds=enough - 0.01)):
        words = rf"0\.wav: .* \(sped up or cropped\) give {needed - 1} frames, .* needs {needed}: .*speeds"
        with pytest.raises(DataError, match=words):
            list(task.check(folder, model, settings))


def listed(*pairs: tuple[Clip | Path, Clip | Path]) -> tuple[Trial, ...]:
    """Trials of one speaker and of two in turn."""
    paths = [[side.path if isinstance(side, Clip) else side for side in pair] for pair in pairs]
    return tuple(Trial(first, second, index % 2 == 0) for index, (first, second) in enumerate(paths))


def test_a_trial_list_must_be_about_the_judged_split_only(tmp_path: Path) -> None:
    model, other = tiny_model("wav2vec2", "ForXVector"), clips_of("validation", "high", "low")
    folder = SpeechFolder(Path("voices"), {"train": TRAIN, "validation": other, "test": TEST}, ())
    left_out = tmp_path / "long.wav"
    left_out.touch()
    trials = listed(
        (TEST[0], TEST[2]), (TEST[0], TEST[1]), (TEST[0], left_out), (TRAIN[0], TRAIN[1]), (TEST[0], TRAIN[0])
    )
    task = Verification(("high", "low"), trials)
    assert list(task.check(folder, model)) == [
        "1 of 5 listed trials are not judged: one of their clips is in no split",
        "2 of 5 listed trials are not judged: they are about train or two splits",
        "validation: it lacks one of the two kinds of trials, so it cannot be judged on",
        "test: 2 trials (listed), 1 of them of one speaker",
        "test: 2 of its speakers are in train too",
    ]
    with pytest.raises(DataError, match="0 of 5 trials are about these 2 clips"):
        list(task.check(folder, model, TaskSettings(judged="validation")))


def test_a_trial_about_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    trials = listed((TEST[0], TEST[2]), (TEST[0], TEST[1]), (TEST[0], tmp_path / "tset.wav"))
    task = Verification(("high", "low"), trials)
    with pytest.raises(DataError, match=r"1 of 3 trials name files that do not exist, such as .*tset\.wav"):
        list(task.check(FOLDER, tiny_model("wav2vec2", "ForXVector")))


def test_embeddings_are_judged_as_they_are_alone_where_pooling_takes_in_padding(tmp_path: Path) -> None:
    task, clips = Verification.from_folder(FOLDER), (*TEST[:3], *clips_of("test", "low", seconds=1.0))
    collate = task.collator(attention_mask=True)

    def batched(model: torch.nn.Module) -> tuple[np.ndarray, np.ndarray]:
        """What the trainer hands to the judge, and the embeddings of the clips alone."""
        trainer = SpeechTrainer(
            model=model, args=quiet_arguments(tmp_path, per_device_eval_batch_size=4), data_collator=collate
        )
        found = trainer.predict(ClipDataset(clips, task.encode)).predictions
        with torch.no_grad():
            alone = [model(**collate([{"input_values": clip.waveform()}])).embeddings[0] for clip in clips]
        return task.slim(found, None), np.stack(alone)

    dilated = task.head.put_on(tiny_model("wav2vec2", "ForXVector")).eval()
    assert pools_padding(dilated)
    np.testing.assert_allclose(*batched(dilated), rtol=1e-5, atol=1e-6)
    items = [{"input_values": clip.waveform()} for clip in clips]
    with torch.no_grad():
        together = dilated(**collate(items)).embeddings[0]
        alone = dilated(**collate(items[:1])).embeddings[0]
    assert not torch.allclose(together, alone, rtol=1e-3, atol=1e-4), "as transformers does it"
    plain = tiny_model("wav2vec2", "ForXVector", tdnn_dilation=(1, 1, 1, 1, 1))
    assert not pools_padding(plain)


def test_a_trainer_learns_to_tell_voices_and_the_cut_model_keeps_its_embeddings(tmp_path: Path) -> None:
    task = Verification.from_folder(FOLDER)
    model = task.head.put_on(Wav2Vec2Model(SHORT))
    trainer = SpeechTrainer(
        model=model,
        args=quiet_arguments(tmp_path, max_steps=40, learning_rate=3e-3, per_device_train_batch_size=8),
        train_dataset=ClipDataset(TRAIN, task.encode),
        eval_dataset=ClipDataset(TEST, task.encode_judged),
        data_collator=task.collator(),
        compute_metrics=task.judge(TEST, model),
        preprocess_logits_for_metrics=task.slim,
    )
    trainer.train()
    result = trainer.evaluate()
    assert (result["eval_eer"], result["eval_min_dcf"]) == (0.0, 0.0)
    graph = prune_ssl.trace(model)
    small = prune_ssl.resize(model, graph, prune_ssl.select(model, graph, "macs=80%", round_to=1))
    prune_ssl.save_pretrained(small, tmp_path / "model")
    waves = torch.from_numpy(np.stack([clip.waveform() for clip in TEST[:2]]))
    with torch.no_grad():
        found = prune_ssl.load_pretrained(tmp_path / "model")(waves).embeddings
        assert torch.equal(found, small.eval()(waves).embeddings)
