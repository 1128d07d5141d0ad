"""Streamed corpora: what is read, order, randomness, resuming, unusable clips, refusals, a recipe."""

import io
import json
import tarfile
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from prune_ssl.data import (
    Augmentation,
    SpeechCollator,
    StreamConfig,
    StreamedClips,
    read_stream,
    read_waveform,
    require_sampled_labels,
)
from prune_ssl.errors import DataError, RecipeError
from prune_ssl.pipeline import run
from prune_ssl.pipeline.corpora import stream_config
from prune_ssl.recipes.schema import make_recipe
from prune_ssl.recipes.smoke import smoke_version
from prune_ssl.tasks import task_class
from prune_ssl.training.resumable import ResumableTrainer
from tests.support.cli import status_and_output
from tests.support.models import tiny_model
from tests.support.paths import RECIPES, WORDS
from tests.support.streams import NAMES, both_splits, encoded, parquet, tone
from tests.support.training import quiet_arguments


def test_parquet_of_the_hub_is_read_as_it_is_heard(tmp_path: Path) -> None:
    stereo = np.stack([tone(0, 0.4, 8_000), tone(3, 0.4, 8_000)], axis=1)
    parquet(tmp_path / "data", [encoded(stereo, 8_000), encoded(tone(1, 3.0))])
    parquet(tmp_path / "data", [encoded(tone(2))], "test")
    config = StreamConfig(path=str(tmp_path / "data"), target="label", judged="test", max_seconds=1.0)
    folder = read_stream(config)
    first, second = folder.splits["train"]
    (tmp_path / "a.wav").write_bytes(encoded(stereo, 8_000))
    assert np.array_equal(first.waveform(), read_waveform(tmp_path / "a.wav"))
    assert np.array_equal(second.waveform(), tone(1, 1.0))
    assert [clip.target for clip in folder.splits["train"]] == NAMES
    assert [clip.target for clip in folder.splits["test"]] == ["no"]
    assert (first.seconds, second.seconds) == (0.4, 1.0)
    assert "train is streamed: its first 256 clips were checked" in folder.notes[0]


def test_jsonl_and_webdataset_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    rows = []
    for index in range(3):
        soundfile.write(tmp_path / "clips" / f"{index}.wav", tone(index), 16_000, subtype="FLOAT")
        rows.append({"audio": f"clips/{index}.wav", "scenario": "a", "action": str(index)})
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    files = {"train": "list.jsonl", "validation": "list.jsonl"}
    lists = StreamConfig(path=str(tmp_path), data_files=files, target="scenario+action")
    clips = read_stream(lists).splits["train"]
    assert [clip.target for clip in clips] == ["a_0", "a_1", "a_2"]
    assert all(np.array_equal(clip.waveform(), tone(index)) for index, clip in enumerate(clips))
    tars = tmp_path / "tars"
    tars.mkdir()
    for split in ("train", "validation"):
        with tarfile.open(tars / f"{split}-0.tar", "w") as tar:
            for index in range(3):
                for suffix, content in (("wav", encoded(tone(index))), ("txt", f"TEXT {index}".encode())):
                    entry = tarfile.TarInfo(f"clip{index}.{suffix}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
    clips = read_stream(StreamConfig(path=str(tars), audio="wav", target="txt")).splits["train"]
    assert [clip.target for clip in clips] == ["TEXT 0", "TEXT 1", "TEXT 2"]
    assert all(np.array_equal(clip.waveform(), tone(index)) for index, clip in enumerate(clips))


@pytest.mark.slow
def test_long_clips_with_transcripts_are_left_out_of_train_and_judged_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = [encoded(tone(index, 1.5 if index % 3 == 2 else 0.2)) for index in range(9)]
    parquet(tmp_path / "data", clips)
    parquet(tmp_path / "data", clips[:4], "validation")
    config = StreamConfig(
        path=str(tmp_path / "data"), target="text", max_seconds=1.0, whole_clips=True, buffer=1
    )
    found = read_stream(config)
    assert [clip.target for clip in found.splits["train"]] == ["N0", "N1", "N3", "N4", "N6", "N7"]
    assert [clip.seconds for clip in found.splits["validation"]] == [0.2, 0.2, 1.5, 0.2]
    assert len(found.splits["validation"][2].waveform()) == 24_000
    assert "3 of the 9 clips of train that were checked are longer than 1 s" in found.notes[1]
    with caplog.at_level("WARNING"):
        stream = StreamedClips(config, lambda text: int(text[1:]))
        assert places(stream, 14) == [0, 1, 3, 4, 6, 7] * 2 + [0, 1]
    assert caplog.messages == ["left out: 3 clips of train longer than 1 s"]
    none = StreamConfig(path=str(tmp_path / "data"), target="text", max_seconds=0.1, whole_clips=True)
    with pytest.raises(DataError, match=r"no clip of train can be used, first: 0\.wav: 0\.2 s, longer"):
        read_stream(none)


@pytest.mark.parametrize(
    ("task", "whole"), [("ctc", True), ("phonemes", True), ("classification", False), ("slots", False)]
)
def test_targets_over_time_are_not_cut_with_their_clips(task: str, whole: bool) -> None:
    data = {"path": "corpus", "target": "a|b", "stream": {}}
    recipe = make_recipe(recipe_of("asr_an4_hj_mac.yaml", data, task=task))
    config = stream_config(recipe.data, task_class(task))
    assert config is not None
    assert config.whole_clips == whole


def places(stream: StreamedClips, count: int) -> list[int]:
    return [int(item["labels"]) for item in islice(stream, count)]


@pytest.mark.slow
def test_epochs_follow_one_another_each_in_its_order(tmp_path: Path) -> None:
    config = StreamConfig(path=str(both_splits(tmp_path / "data")), target="text")
    stream = StreamedClips(config, lambda text: int(text[1:]), seed=3, phase="pruning")
    order = places(stream, 36)
    epochs = [order[:12], order[12:24], order[24:]]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert places(stream, 36) == order
    assert places(stream.seeded(3, "recovery"), 12) != epochs[0]
    assert places(stream.seeded(4, "pruning"), 12) != epochs[0]
    ordered = StreamedClips(
        StreamConfig(path=config.path, target="text", buffer=1), lambda text: int(text[1:])
    )
    assert places(ordered, 12) == list(range(12))


@pytest.mark.slow
def test_random_changes_depend_on_the_place_alone(tmp_path: Path) -> None:
    config = StreamConfig(path=str(both_splits(tmp_path / "data")), target="text")
    stream = StreamedClips(
        config, lambda text: None, augmentation=Augmentation(speeds=(1.0,)), crop_seconds=0.1, seed=1
    )
    first = [item["input_values"] for item in islice(stream, 24)]
    assert all(len(samples) == 1_600 for samples in first)
    state = torch.get_rng_state()
    again = [item["input_values"] for item in islice(stream, 24)]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert len({samples.tobytes() for samples in first}) == 24, "the second epoch hears other changes"


@pytest.mark.slow
def test_a_resumed_training_ends_in_the_same_weights(tmp_path: Path) -> None:
    config = StreamConfig(path=str(both_splits(tmp_path / "data")), target="label")
    stream = StreamedClips(config, NAMES.index, augmentation=Augmentation())

    def trainer(folder: Path, steps: int) -> ResumableTrainer:
        torch.manual_seed(0)
        arguments = quiet_arguments(
            folder, max_steps=steps, per_device_train_batch_size=4, lr_scheduler_type="constant", seed=5
        )
        arguments.save_strategy, arguments.save_steps = "steps", 4  # one epoch is three batches
        model = tiny_model(num_labels=2, hidden_dropout=0.1)
        return ResumableTrainer(
            model=model, args=arguments, train_dataset=stream, data_collator=SpeechCollator()
        )

    whole = trainer(tmp_path / "whole", 7)
    whole.train()
    trainer(tmp_path / "parts", 4).train()
    resumed = trainer(tmp_path / "parts", 7)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 7
    fresh = tiny_model(num_labels=2)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name
    assert not all(
        torch.equal(weight, fresh.state_dict()[name]) for name, weight in whole.model.state_dict().items()
    )


@pytest.mark.slow
def test_unusable_clips_are_left_out_and_named_until_there_are_too_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = [encoded(tone(index)) for index in range(30)]
    clips[3], clips[17] = b"no audio", encoded(np.zeros(4_000, np.float32))
    parquet(tmp_path / "data", clips)
    parquet(tmp_path / "data", [encoded(tone(0)), encoded(tone(0)[:50])], "validation")
    config = StreamConfig(path=str(tmp_path / "data"), target="text", buffer=1)
    stream = StreamedClips(config, lambda text: int(text[1:]))
    with caplog.at_level("WARNING"):
        found = Counter(places(stream, 28))
    assert set(found) == set(range(30)) - {3, 17}
    assert "left out: 3.wav: broken: Format not recognised" in caplog.text
    assert "left out: 17.wav: silent" in caplog.text
    notes = " ".join(read_stream(config).notes)
    assert "2 clips of train cannot be used, first: 3.wav: broken" in notes
    assert "1 clips of validation cannot be used, first: 1.wav: too short (50 samples" in notes
    parquet(tmp_path / "bad", [encoded(tone(0)) if index % 5 else b"?" for index in range(120)])
    bad = StreamConfig(path=str(tmp_path / "bad"), target="text", buffer=1)
    with pytest.raises(DataError, match=r"20 of 100 clips of train cannot be used .*clean it"):
        places(StreamedClips(bad, lambda text: 0), 100)


@pytest.mark.slow
def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    folder = str(both_splits(tmp_path / "data"))
    with pytest.raises(DataError, match=r"split 'trian' cannot be streamed"):
        read_stream(StreamConfig(path=folder, train="trian"))
    with pytest.raises(DataError, match=r"no column 'speaker' in train: found audio, label, text; name"):
        read_stream(StreamConfig(path=folder, target="speaker"))
    with pytest.raises(DataError, match=r"cannot be streamed .*wanted a name of the hub"):
        read_stream(StreamConfig(path=str(tmp_path / "gone")))
    with pytest.raises(DataError, match="sample: found 0, wanted at least 1"):
        StreamConfig(path=folder, sample=0)
    few = StreamConfig(path=folder, target="label", sample=1)
    with pytest.raises(DataError, match=r"1 labels, such as 'yes', .*raise data\.stream\.sample"):
        require_sampled_labels(read_stream(few), few)
    unknown = StreamedClips(few, ["no"].index)
    assert isinstance(unknown, torch.utils.data.IterableDataset)

    def encode(label: str) -> int:
        raise DataError(f"label {label!r} is not one of 'no'")

    with pytest.raises(DataError, match=r"did not have it; raise data\.stream\.sample"):
        next(iter(StreamedClips(few, encode)))
    code, output = status_and_output("doctor", "data", tmp_path / "gone")
    assert code == 2
    assert "To check a data set of the hub, download it" in " ".join(output.split())


def recipe_of(name: str, data: dict[str, object], **more: object) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load((RECIPES / name).read_text())
    return found | more | {"data": data}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"group_by_length": True}, "no length is known before its clip is read"),
        ({"corruption": {"cases": ["noise"]}}, "take noise and rooms from `augment`"),
        ({"judged": "test"}, "name the split by `stream.judged`"),
        ({"cache_limit_bytes": 10}, "`stream.sample` and `stream.judged_limit` bound its memory"),
    ],
)
def test_what_streaming_cannot_do_is_refused(more: dict[str, object], words: str) -> None:
    data = {"path": "librispeech_asr", "stream": {"name": "clean", "train": "train.100"}}
    recipe = recipe_of("asr_an4_hj_mac.yaml", data)
    assert make_recipe(recipe).data.stream is not None
    assert smoke_version(make_recipe(recipe)).data.stream is None
    with pytest.raises(RecipeError, match=words):
        make_recipe(recipe | {"data": data | more})
    with pytest.raises(RecipeError, match=r"unknown key 'data\.stream\.trian'; did you mean 'train'"):
        make_recipe(recipe | {"data": data | {"stream": {"trian": "x"}}})


@pytest.mark.slow
def test_a_recipe_runs_on_a_stream(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        rows = (WORDS / split / "metadata.csv").read_text().splitlines()[1:41]
        lines = [
            json.dumps({"audio": str(WORDS / split / name), "label": label})
            for name, label in (row.split(",")[:2] for row in rows)
        ]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    small = smoke_version(make_recipe(recipe_of("asr_an4_hj_mac.yaml", {"path": "x"}, smoke=True)))
    stream = {
        "judged_limit": 8,
        "sample": 24,
        "data_files": {s: f"{s}.jsonl" for s in ("train", "validation")},
    }
    data = {"path": str(tmp_path), "target": "label", "stream": stream}
    again = small.model_dump() | {"smoke": False, "data": data, "output": str(tmp_path / "out")}
    said: list[str] = []
    outcome = run(make_recipe(again), say=said.append)
    assert outcome.report.data.results["recovered"]["clips"] == 8
    text = "\n".join(said)
    assert "24 train, 8 validation clips" in text
    assert "note: train is streamed: its first 24 clips were checked" in text
    assert "note: judged on the first 8 clips of validation" in text
