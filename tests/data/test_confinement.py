"""A corpus reads no file outside itself until its user allows it."""

import json
from pathlib import Path

import pytest

from prune_ssl.data import FolderConfig, SurveyConfig, check_folder, survey
from prune_ssl.errors import DataError
from tests.support.cli import status_and_output
from tests.support.lists import BODY, PLAIN, clip, found

OUTSIDE = ("{secret}", "../../secret.wav", "../train/../../secret.wav", "link.wav", "linked/secret.wav")


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", ["metadata.csv", "metadata.jsonl"])
def test_a_file_name_may_not_lead_out_of_the_corpus(corpus: Path, name: str, kind: str) -> None:
    secret = corpus.parent / "secret.wav"
    clip(secret)
    (corpus / "train" / "link.wav").symlink_to(secret)
    (corpus / "train" / "linked").symlink_to(corpus.parent)
    name = name.format(secret=secret)
    content = f"file_name,label\n{name},yes\n"
    if kind == "metadata.jsonl":
        content = json.dumps({"file_name": name, "label": "yes"})
    (corpus / "train" / kind).write_text(content)
    with pytest.raises(
        DataError, match=r"outside the corpus, at .*secret\.wav: put the file .*data\.outside"
    ):
        check_folder(corpus)
    (finding,) = survey(corpus).of_kind("broken")
    assert "outside the corpus" in finding.words
    assert len(check_folder(corpus, FolderConfig(outside=True)).splits["train"]) == 1
    assert not survey(corpus, SurveyConfig(min_seconds=0.01, outside=True)).of_kind("broken")
    code, output = status_and_output("doctor", "data", corpus)
    assert (code, "outside the corpus" in output) == (1, True)
    code, output = status_and_output("doctor", "data", corpus, "--outside")
    assert code == 0, output


def test_absolute_names_and_links_within_the_corpus_are_read(corpus: Path, tmp_path: Path) -> None:
    (corpus / "audio").mkdir()
    clip(corpus / "audio" / "x.wav", 50)
    (corpus / "train" / "x.wav").symlink_to(corpus / "audio" / "x.wav")
    rows = f"x.wav,yes\n{corpus / 'train' / 'a.wav'},yes\n../audio/x.wav,no\n"
    (corpus / "train" / "metadata.csv").write_text(f"file_name,label\n{rows}")
    assert len(found(corpus)) == 3
    (tmp_path / "link").symlink_to(corpus)
    assert len(found(tmp_path / "link")) == 3
    moved = tmp_path / "disk" / "train"
    moved.parent.mkdir()
    (corpus / "train").rename(moved)  # a split on another disk
    (corpus / "train").symlink_to(moved)
    (moved / "metadata.csv").write_text("file_name,label\na.wav,yes\n")
    assert found(corpus) == [("a.wav", "yes")]


def test_a_snapshot_in_the_cache_of_the_hub_is_read(corpus: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "datasets--x" / "blobs", tmp_path / "datasets--x" / "snapshots" / "abc"
    (corpus / "train" / "metadata.csv").write_text(f"file_name,label\n{BODY}")
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(corpus.rglob("*.*"))):
        path.rename(blobs / f"{number:064x}")
        link = snapshot / path.relative_to(corpus)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blobs / f"{number:064x}")
    assert found(snapshot) == PLAIN
