"""Names of models: folders, the hub and its cache; a hub that does not answer is not waited for."""

import shutil
import threading
from pathlib import Path

import pytest

from prune_ssl import save_pretrained
from prune_ssl.errors import ModelError
from prune_ssl.models import load_model, places
from prune_ssl.models.origin import origin_of
from tests.support.saved import error_of, saved


def test_names_that_are_no_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places.constants, "HF_HUB_OFFLINE", True)
    saved(tmp_path / "asr_model")
    (tmp_path / "sub").mkdir()
    shutil.copytree("asr_model", "sub/asr_model")
    for name, hint in (
        ("asr_modle", "Did you mean asr_model?"),
        ("./asr_modle", "Did you mean asr_model?"),
        ("sub/asr_modle", "Did you mean sub/asr_model?"),
        (str(tmp_path / "asr_modle"), f"Did you mean {tmp_path / 'asr_model'}?"),
        ("no/such/folder/at/all", "there is no such folder"),
        ("asr_model/config.json", "give its folder asr_model"),
        ("asr_model/model.safetensors", "give its folder asr_model"),
        ("asr_modle/", "Did you mean asr_model?"),
        ("https://huggingface.co/facebook/wav2vec2-base", "ORG/NAME"),
        ("", "empty"),
        ("a\0b", "is no path"),
        ("x" * 5000, "no"),
        ("org/name", "HF_HUB_OFFLINE"),
    ):
        assert hint in error_of(name), name
    for name in ("asr_model", "asr_model/", "./asr_model", Path("asr_model")):
        assert type(load_model(name)).__name__ == "HubertForSequenceClassification"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert type(load_model("~/asr_model")).__name__ == "HubertForSequenceClassification"


def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(places.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(places, "HUB_SECONDS", 0.2)
    over, answered = threading.Event(), []
    monkeypatch.setattr(places.HfApi, "model_info", lambda *_args, **_more: answered.append(over.wait(600)))
    try:
        assert "no answer in 0.2 s" in error_of("some-org/some-model")
        assert answered == []
    finally:
        over.set()


def hub_cache(monkeypatch, tmp_path, files: Path, name="org/model"):
    """A cache of the hub with one snapshot, as it lies on disk: links to blobs."""
    cache = tmp_path / "hub"
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    (repository / "blobs").mkdir()
    for file in files.iterdir():
        blob = repository / "blobs" / f"blob-{file.name}"
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    monkeypatch.setattr(places.constants, "HF_HUB_OFFLINE", True)
    whole = places.snapshot_download
    monkeypatch.setattr(
        places, "snapshot_download", lambda *args, **more: whole(*args, **more, cache_dir=str(cache))
    )
    return snapshot


def test_a_cached_hub_model_loads_offline_and_its_files_go_along(monkeypatch, tmp_path):
    folder = saved(tmp_path / "m")
    (folder / "vocab.json").write_text('{"a": 0}')
    hub_cache(monkeypatch, tmp_path, folder)
    model = load_model("org/model")
    assert origin_of(model).head == "kept from org/model (HubertForSequenceClassification)"
    assert model.name_or_path == "org/model"
    out = save_pretrained(model, tmp_path / "out")
    assert (out / "vocab.json").read_text() == '{"a": 0}'
    assert not (out / "vocab.json").is_symlink()


def test_of_a_hub_repository_one_format_of_weights_is_brought():
    both = [
        "config.json",
        "model.safetensors",
        "pytorch_model.bin",
        "tf_model.h5",
        "language_model/5gram.bin",
        "x/y",
    ]
    assert places.files_to_bring(both) == ["config.json", "model.safetensors", "language_model/5gram.bin"]
    assert "pytorch_model.bin" in places.files_to_bring(["config.json", "pytorch_model.bin"])


def test_a_name_near_that_of_a_shipped_model_leads_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="Did you mean small_hubert, a model of this package"):
        places.locate("small_huber")
