"""Joint tasks whose clips have a label or a speaker only: a blank gives no loss and is not judged."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.nn.functional import cross_entropy
from transformers import EvalPrediction

import prune_ssl
from prune_ssl.data import IGNORED, FolderConfig, SpeechFolder, Trial, check_folder
from prune_ssl.errors import DataError
from prune_ssl.tasks import Classification, Joint, Slots, TaskSettings
from prune_ssl.tasks.verification import cosines
from prune_ssl.tasks.verification_metrics import equal_error_rate
from tests.support.cli import run_cli
from tests.support.joint import SETTINGS, TEST, TRAIN, small_model
from tests.support.models import tiny_model
from tests.support.paths import RECIPES


def blanked(clips):
    """Words of the first half, speakers of the second: two corpora."""
    half = len(clips) // 2
    return tuple(
        replace(
            clip, target="|".join(part if (place == 0) == (index < half) else "" for place, part in parts)
        )
        for index, clip in enumerate(clips)
        for parts in [list(enumerate(clip.target.split("|")))]
    )


BLANKED = SpeechFolder(Path("joint"), {"train": blanked(TRAIN), "test": blanked(TEST)}, ())


def test_classes_come_from_what_is_filled() -> None:
    task = Joint.from_folder(BLANKED, settings=SETTINGS)
    assert task.labels == ("label=no", "label=yes", "speaker=ann", "speaker=bob")
    assert task.encode("yes|") == [1, IGNORED]
    assert task.encode("|bob") == [IGNORED, 1]
    with pytest.raises(DataError, match="a value that train does not have"):
        task.encode("maybe|")


def test_a_blank_gives_no_loss() -> None:
    task = Joint.from_folder(BLANKED, settings=SETTINGS)
    logits = torch.randn(4, 16, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([task.encode(each) for each in ("no|", "yes|", "|ann", "|bob")])
    wanted = cross_entropy(logits[:2, :2], labels[:2, 0]) + 0.5 * cross_entropy(
        logits[2:, 2:4], labels[2:, 1]
    )
    found = task.loss_function()({"logits": logits}, labels)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    found.backward()
    assert not logits.grad[:2, 2:].any()
    assert not logits.grad[2:, :2].any()
    only = torch.tensor([task.encode("no|")] * 4)
    assert bool(torch.isfinite(task.loss_function()({"logits": logits}, only)))


def test_a_blank_is_not_judged() -> None:
    task, model = Joint.from_folder(BLANKED, settings=SETTINGS), tiny_model("wav2vec2", "ForXVector")
    judged = BLANKED.splits["test"]
    logits = 0.01 * np.random.default_rng(0).standard_normal((8, 16))
    for index, clip in enumerate(judged[:4]):
        logits[index, int(clip.target.startswith("yes"))] = 1.0
    logits[0, :2] = (0.0, 2.0)  # one word wrong; those of the other half are nobody's
    found = task.judge(judged, model)(EvalPrediction((logits, "embeddings"), None))
    assert found["accuracy"] == 3 / 4
    assert found["clips"] == 4
    pairs = np.array([(i, j) for i in range(4, 8) for j in range(i + 1, 8)])
    same = [TEST[i].speaker == TEST[j].speaker for i, j in pairs]
    speakers = logits[:, 2:4] - logits[:, 2:4].mean(axis=1, keepdims=True)
    assert found["eer"] == equal_error_rate(cosines(speakers, pairs), same)
    assert found["trials"] == len(pairs)
    assert list(task.check(BLANKED, model)) == [
        "train: 16 clips, 8 with a label, 8 with a speaker; a blank gives no loss and is not judged",
        "test: 8 clips, 4 with a label, 4 with a speaker; a blank gives no loss and is not judged",
        "test: 6 trials (all pairs), 2 of them of one speaker",
        "test: 2 of its speakers are in train too",
    ]


def test_a_trial_list_says_itself_who_speaks() -> None:
    """Its clips need no speaker."""
    trials = tuple(Trial(TEST[i].path, TEST[j].path, same) for i, j, same in ((0, 1, True), (2, 5, False)))
    task = replace(Joint.from_folder(BLANKED, settings=SETTINGS), trials=trials)
    words_only = tuple(replace(clip, target=clip.target.split("|")[0] + "|") for clip in TEST)
    folder = replace(BLANKED, splits={**BLANKED.splits, "test": words_only})
    model = tiny_model("wav2vec2", "ForXVector")
    assert "test: 2 trials (listed), 1 of them of one speaker" in list(task.check(folder, model))
    logits = np.random.default_rng(0).standard_normal((8, 16))
    found = task.judge(words_only, model)(EvalPrediction((logits, None), None))
    assert found["trials"] == 2


@pytest.mark.parametrize(("place", "name"), [(0, "label"), (1, "speaker")])
def test_a_split_without_any_value_of_a_part_is_refused(place, name) -> None:
    def emptied(clips):
        parts = [clip.target.split("|") for clip in clips]
        return tuple(
            replace(clip, target="|".join("" if at == place else part for at, part in enumerate(each)))
            for clip, each in zip(clips, parts, strict=True)
        )

    task, model = Joint.from_folder(BLANKED, settings=SETTINGS), tiny_model("wav2vec2", "ForXVector")
    folder = replace(BLANKED, splits={**BLANKED.splits, "test": emptied(TEST)})
    with pytest.raises(DataError, match=rf"no clip of test has a {name}, so it cannot be judged"):
        list(task.check(folder, model))
    folder = replace(BLANKED, splits={**BLANKED.splits, "train": emptied(TRAIN)})
    with pytest.raises(DataError, match=rf"no clip of train has a {name}"):
        Joint.from_folder(folder, settings=SETTINGS)


@pytest.fixture
def corpus(tmp_path):
    """Words without speakers and speakers without words, in one folder; one cell of spaces."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 16), ("validation", 8)):
        folder = tmp_path / "corpus" / split
        folder.mkdir(parents=True)
        rows = ["file_name,label,speaker"]
        for index in range(count):
            soundfile.write(folder / f"{index}.wav", 0.1 * generator.standard_normal(9_600), 16_000)
            word, speaker = ("no", "yes")[index % 2], ("ann", "bob")[index // 2 % 2]
            rows.append(f"{index}.wav,{word},  " if index < count // 2 else f"{index}.wav,,{speaker}")
        (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "corpus"


JOINT = FolderConfig(target="label|speaker", blanks=True, closed_labels=False)


def test_folders_keep_blanks_for_those_that_ask(corpus) -> None:
    found = check_folder(corpus, JOINT)
    assert found.labels == ("no|", "yes|", "|ann", "|bob")
    with pytest.raises(DataError, match=r"its label\|speaker in metadata\.csv is empty"):
        check_folder(corpus, replace(JOINT, blanks=False))
    with (corpus / "train" / "metadata.csv").open("a") as file:
        file.write("0.wav,,\n")
    with pytest.raises(DataError, match=r"1 of 25 clips can't be used.*\n.*its label\|speaker"):
        check_folder(corpus, JOINT)


def test_a_manifest_may_leave_keys_out(corpus) -> None:
    for split in ("train", "validation"):
        header, *rows = (corpus / split / "metadata.csv").read_text().splitlines()
        names = header.split(",")
        entries = [
            {key: value for key, value in zip(names, row.split(","), strict=True) if value.strip()}
            for row in rows
        ]
        (corpus / split / "metadata.jsonl").write_text("\n".join(map(json.dumps, entries)) + "\n")
        (corpus / split / "metadata.csv").unlink()
    assert check_folder(corpus, JOINT).labels == ("no|", "yes|", "|ann", "|bob")


@pytest.mark.parametrize("kind", [Slots, Classification])
def test_other_tasks_refuse_blanks(corpus, kind) -> None:
    target = {Slots: "label|speaker", Classification: "label"}[kind]
    assert not kind.spec.blanks
    with pytest.raises(DataError, match=r"is empty"):
        check_folder(corpus, FolderConfig(target=target, blanks=kind.spec.blanks))
    if kind is Slots:
        task = Slots(("label=no", "label=yes", "speaker=ann"))
        with pytest.raises(DataError, match="a value that train does not have"):
            task.encode("no|")


def test_a_recipe_trains_both_from_two_corpora(corpus, tmp_path) -> None:
    model = Joint.from_folder(check_folder(corpus, JOINT), settings=TaskSettings(target="label|speaker"))
    recipe = tmp_path / "joint.yaml"
    text = (RECIPES / "joint_arabic_hj_size.yaml").read_text()
    recipe.write_text(text)
    made = prune_ssl.save_pretrained(model.head.put_on(small_model()), tmp_path / "start")
    from transformers import Wav2Vec2FeatureExtractor

    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(made)
    more = [
        f"data.path={corpus}",
        f"model={{name: {made}}}",
        "dense=null",
        "distillation=null",
        "data.target=label|speaker",
        "pruning={budget: 'params=80%', steps: 2, learning_rate: 1.0e-3, seconds: 0.6, round_to: 1}",
        "report={seconds: [0.6], iterations: 3, min_seconds: 0}",
        "data.batch_seconds=null",
        "batch_size=4",
        f"output={tmp_path}/out",
    ]
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    result = run_cli("run", recipe, *more)
    assert result.exit_code == 0, result.stderr
    assert "8 with a label, 8 with a speaker" in result.output
    found = json.loads((tmp_path / "out" / "report.json").read_text())["results"]["recovered"]
    assert found["clips"] == 4
    assert found["trials"] == 6
