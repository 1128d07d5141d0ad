"""Layouts of corpora as they are unpacked: each gives the same clips, or is refused by file and line."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from prune_ssl.data import FolderConfig, Layout, check_folder, find_trials, register_layout
from prune_ssl.data.layouts import LAYOUTS
from prune_ssl.errors import DataError
from tests.support.layouts import jsonl, manifests, write_clip
from tests.support.lists import clip, found
from tests.support.paths import ROOT


def kaldi(root: Path) -> None:
    for split in ("train", "dev"):
        folder = root / split
        scp, text, speakers = [], [], []
        for word in ("no", "yes"):
            write_clip(root / "audio" / f"{split}_{word}.wav")
            scp.append(f"7-{word} audio/{split}_{word}.wav")
            text.append(f"7-{word} {word}")
            speakers.append(f"7-{word} 7")
        folder.mkdir()
        (folder / "wav.scp").write_text("\n".join(scp))
        (folder / "text").write_text("\n".join(text))
        (folder / "utt2spk").write_text("\n".join(speakers))


def librispeech(root: Path) -> None:
    for part in ("train-clean-100", "dev-clean"):
        folder = root / part / "7" / "12"
        for index in range(2):
            write_clip(folder / f"7-12-000{index}.flac")
        (folder / "7-12.trans.txt").write_text("7-12-0000 no\n7-12-0001 yes\n")


def speech_commands(root: Path) -> None:
    for word in ("no", "yes"):
        write_clip(root / word / "7_nohash_0.wav")
        write_clip(root / word / "7_nohash_1.wav")
    write_clip(root / "_background_noise_" / "hum.wav")
    (root / "validation_list.txt").write_text("no/7_nohash_1.wav\nyes/7_nohash_1.wav\n")
    (root / "testing_list.txt").write_text("")


def fluent(root: Path) -> None:
    (root / "data").mkdir(parents=True)
    for split in ("train", "valid"):
        lines = ["path,speakerId,transcription,action,object,location"]
        for word in ("no", "yes"):
            write_clip(root / "wavs" / f"{split}{word}.wav")
            lines.append(f"wavs/{split}{word}.wav,7,{word} please,{word},lamp,none")
        (root / "data" / f"{split}_data.csv").write_text("\n".join(lines))


def slurp(root: Path) -> None:
    (root / "dataset" / "slurp").mkdir(parents=True)
    for split in ("train", "devel"):
        lines = []
        for action in ("no", "yes"):
            write_clip(root / "slurp_real" / f"{split}{action}.flac")
            entry = {"sentence": f"{action} please", "scenario": "alarm", "action": action, "intent": "noise"}
            lines.append(json.dumps(entry | {"recordings": [{"file": f"{split}{action}.flac"}]}))
        (root / "dataset" / "slurp" / f"{split}.jsonl").write_text("\n".join(lines))


CASES: dict[str, tuple[Callable[[Path], None], str, tuple[str, ...], str | None]] = {
    "jsonl": (jsonl, "label", ("no", "yes"), "7"),
    "manifests": (manifests, "label", ("no", "yes"), "7"),
    "kaldi": (kaldi, "text", ("no", "yes"), "7"),
    "librispeech": (librispeech, "text", ("no", "yes"), "7"),
    "speech commands": (speech_commands, "label", ("no", "yes"), "7"),
    "fluent": (fluent, "action+object+location", ("no_lamp_none", "yes_lamp_none"), "7"),
    "slurp": (slurp, "scenario+action", ("alarm_no", "alarm_yes"), None),
}


@pytest.mark.parametrize("name", CASES)
def test_a_layout_gives_the_same_clips(tmp_path: Path, name: str) -> None:
    make, target, targets, speaker = CASES[name]
    make(tmp_path)
    opened = check_folder(tmp_path, FolderConfig(target=target))
    assert set(opened.splits) == {"train", "validation"}
    for clips in opened.splits.values():
        assert [clip.target for clip in clips] == list(targets)
        assert {clip.speaker for clip in clips} == {speaker}
        assert all(clip.path.is_file() and clip.seconds == 0.2 for clip in clips)
    train, validation = ({clip.path for clip in clips} for clips in opened.splits.values())
    assert not train & validation
    assert opened.notes == ()


def test_voxceleb_keeps_judged_speakers_out_of_train(tmp_path: Path) -> None:
    for speaker in ("id1", "id2", "id3", "id4"):
        for index in range(2):
            write_clip(tmp_path / "wav" / speaker / "video" / f"{index}.wav")
    lines = ["1 id3/video/0.wav id3/video/1.wav", "0 id3/video/0.wav id4/video/0.wav"]
    (tmp_path / "veri_test.txt").write_text("\n".join(lines))
    opened = check_folder(tmp_path, FolderConfig(target="speaker", closed_labels=False))
    assert opened.labels == ("id1", "id2")
    judged = {clip.path for clip in opened.splits["test"]}
    assert len(judged) == 3  # id4/video/1.wav is in no trial, and its speaker is not trained on
    assert {path for trial in find_trials(tmp_path) or () for path in (trial.first, trial.second)} == judged


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: (root / "train" / "segments").write_text("a b 0 1"), "cut into segments"),
        (lambda root: (root / "train" / "wav.scp").write_text("7-no sox x.wav -t wav - |"), "is a command"),
        (lambda root: (root / "train" / "utt2spk").write_text("7-no 7"), "7-yes has no speaker"),
    ],
)
def test_kaldi_folders_that_cannot_be_read_are_refused(
    tmp_path: Path, change: Callable[[Path], object], words: str
) -> None:
    kaldi(tmp_path)
    change(tmp_path)
    with pytest.raises(DataError, match=words):
        check_folder(tmp_path, FolderConfig(target="text"))


def test_bad_json_and_a_missing_column_are_refused(tmp_path: Path) -> None:
    jsonl(tmp_path)
    with pytest.raises(DataError, match="no column 'text': found file_name, label, speaker"):
        check_folder(tmp_path, FolderConfig(target="text"))
    (tmp_path / "train" / "metadata.jsonl").write_text('{"file_name": "no.wav", "label": "no"}\n[1]\n')
    with pytest.raises(DataError, match="line 2 is not a JSON object: a list"):
        check_folder(tmp_path)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"offset": 0.1, "duration": 0.1}, r"train\.jsonl: line 2 begins at 0\.1 s of audio/.* one file per"),
        ({"offset": 0.0, "duration": 0.09}, r"1 of 4 clips.*the list states 0\.09 s, the file has 0\.2 s"),
        ({"offset": None, "duration": 0.13}, None),  # as near as codecs and rounding come
        ({"duration": 3.0}, None),
    ],
)
def test_segments_of_a_recording_in_a_manifest_are_refused(
    tmp_path: Path, more: dict[str, object], words: str | None
) -> None:
    manifests(tmp_path)
    path = tmp_path / "train.jsonl"
    first, second = map(json.loads, path.read_text().splitlines())
    path.write_text("\n".join(map(json.dumps, (first, second | more))))
    if words is None:
        assert len(check_folder(tmp_path).splits["train"]) == 2
        return
    with pytest.raises(DataError, match=f"(?s){words}"):
        check_folder(tmp_path)


@pytest.mark.parametrize("target", ["label", None])
def test_a_later_row_without_a_file_name_is_refused(tmp_path: Path, target: str | None) -> None:
    jsonl(tmp_path)
    with (tmp_path / "train" / "metadata.jsonl").open("a") as file:
        file.write('{"label": "no"}\n')
    with pytest.raises(DataError, match=r"1 of 5 clips.*\n  train/metadata\.jsonl: a row has no file_name"):
        check_folder(tmp_path, FolderConfig(target=target))


def test_fluent_speech_commands_may_lack_speakers_but_not_paths(tmp_path: Path) -> None:
    fluent(tmp_path)
    path = tmp_path / "data" / "train_data.csv"
    path.write_text(path.read_text().replace("speakerId", "who"))
    train = check_folder(tmp_path, FolderConfig(target="action")).splits["train"]
    assert [(clip.target, clip.speaker) for clip in train] == [("no", None), ("yes", None)]
    path.write_text(path.read_text().replace("path,", "file,"))
    with pytest.raises(DataError, match=r"train_data\.csv: no column 'path': found file, who"):
        check_folder(tmp_path, FolderConfig(target="action"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"sentence": ', "line 3 is not a JSON object"),
        ('{"sentence": "no"}', r"line 3 is not an entry of SLURP \('recordings'\): wanted sentence"),
    ],
)
def test_malformed_lines_of_slurp_are_refused(tmp_path: Path, line: str, words: str) -> None:
    slurp(tmp_path)
    with (tmp_path / "dataset" / "slurp" / "train.jsonl").open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(DataError, match=words):
        check_folder(tmp_path, FolderConfig(target="action"))


@pytest.fixture
def known_layouts():
    known = list(LAYOUTS)
    yield known
    LAYOUTS[:] = known


def test_the_page_adds_a_layout_and_a_recipe_reads_it(tmp_path: Path, known_layouts, capsys) -> None:
    lines = []
    for split in ("train", "validation"):
        for word, hz in (("no", 300.0), ("yes", 900.0)):
            write_clip(tmp_path / "audio" / f"{split}_{word}.wav", hz=hz)
            lines.append(f"{split}\taudio/{split}_{word}.wav\t{word}")
    (tmp_path / "clips.tsv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="no folder train/"):
        check_folder(tmp_path)
    names = {"CORPUS": tmp_path, "__name__": "example"}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs/add_a_layout.md").read_text(), re.DOTALL):
        exec(compile(block, "add_a_layout.md", "exec"), names)
    assert {split: len(clips) for split, clips in names["clips"].splits.items()} == {
        "train": 2,
        "validation": 2,
    }
    assert names["clips"].labels == ("no", "yes")
    assert "2 train, 2 validation clips, 2 different labels" in capsys.readouterr().out


def test_layouts_without_marks_are_refused_and_a_name_is_replaced(known_layouts) -> None:
    for wrong in (Layout("x", (), dict), Layout("x", ("",), dict), Layout("x", "*.tsv", dict), "x"):
        with pytest.raises(DataError, match="register_layout: "):
            register_layout(wrong)
    assert known_layouts == LAYOUTS
    mine = Layout("VoxCeleb", ("mine.txt",), dict)
    register_layout(mine)
    assert LAYOUTS[0] is mine
    assert len(LAYOUTS) == len(known_layouts)


def test_manifests_are_lists_of_paths(corpus: Path, tmp_path: Path) -> None:
    clip(tmp_path / "elsewhere.wav")
    for split in ("train", "validation"):
        line = json.dumps({"audio_filepath": str(tmp_path / "elsewhere.wav"), "label": "yes"})
        (corpus / f"{split}.jsonl").write_text(line)
    assert found(corpus) == [("elsewhere.wav", "yes")]


def kaldi_tables(corpus: Path, scp: str, text: str) -> None:
    for split in ("train", "validation"):
        (corpus / split / "wav.scp").write_text(scp.format(wav=corpus / "train" / "a.wav", root=corpus))
        (corpus / split / "text").write_text(text)
        (corpus / split / "metadata.csv").unlink(missing_ok=True)


def test_tables_of_kaldi_may_be_parted_by_tabs(corpus: Path) -> None:
    kaldi_tables(corpus, "u1\t{wav}\n", "u1\tHELLO  WORLD\n")
    assert found(corpus, "text") == [("a.wav", "HELLO  WORLD")]


@pytest.mark.parametrize(
    ("scp", "text", "words"),
    [
        ("u1 touch {root}/ran |\n", "u1 A\n", "u1 is a command"),
        ("u1 | touch {root}/ran\n", "u1 A\n", "u1 is a command"),
        ("u1 $(touch {root}/ran)\n", "u1 A\n", "no such file"),
        ("u1 {wav}\nu1 {wav}\n", "u1 A\n", r"wav\.scp: line 2 lists u1 again"),
        ("u1 {wav}\n", "u1 A\nu1 B\n", "text: line 2 lists u1 again"),
    ],
)
def test_tables_of_kaldi_never_run_and_never_contradict_themselves(
    corpus: Path, scp: str, text: str, words: str
) -> None:
    kaldi_tables(corpus, scp, text)
    with pytest.raises(DataError, match=words):
        check_folder(corpus, FolderConfig(target="text"))
    assert not (corpus / "ran").exists()
