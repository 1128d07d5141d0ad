"""prune-ssl push: what is uploaded loads and has a card that the hub reads; errors are one line."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import LocalTokenNotFoundError
from typer.testing import CliRunner

from prune_ssl import resize, save_pretrained, trace
from prune_ssl.cli.app import app
from tests.support.models import tiny_model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tiny_model("hubert", "ForCTC")
    small = resize(model, trace(model), {"conv.0": (0, 1)})
    return save_pretrained(small, tmp_path_factory.mktemp("made") / "model", plan={"conv.0": (0, 1)})


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the model, which a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "model"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """The calls that reached the hub."""
    calls: list[dict[str, object]] = []

    def create(self: HfApi, name: str, **more: object) -> None:
        calls.append({"create": name, **more})

    def upload(self: HfApi, **more: object) -> SimpleNamespace:
        calls.append(more)
        return SimpleNamespace(commit_url="https://hub/commit/1")

    monkeypatch.setattr(HfApi, "create_repo", create)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    return calls


def run(*arguments: object, status: int = 0) -> str:
    done = CliRunner().invoke(app, ["push", *map(str, arguments)])
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.output
    return done.output


def test_a_folder_is_loaded_and_uploaded(folder: Path, hub: list[dict[str, object]]) -> None:
    found = run(folder, "someone/small", "--private")
    assert "has no README.md" in found
    assert "https://hub/commit/1" in found
    assert hub[0] == {"create": "someone/small", "private": True, "exist_ok": True}
    assert hub[1]["folder_path"] == folder


def test_a_dry_run_lists_the_files_and_uploads_nothing(folder: Path, hub: list[dict[str, object]]) -> None:
    found = run(folder, "someone/small", "--dry-run")
    assert "model.safetensors" in found
    assert "modeling_pruned.py" in found
    assert not hub


@pytest.mark.parametrize(
    "name", ["", "small", "a/b/c", "someone/sm all", "someone/x.git", "-x/y", "someone/" + "x" * 200]
)
def test_a_name_that_the_hub_would_refuse_is_refused(
    folder: Path, hub: list[dict[str, object]], name: str
) -> None:
    assert run("--dry-run", folder, "--", name, status=2).count("error:") == 1
    assert not hub


@pytest.mark.parametrize("damage", ["weights", "config", "card"])
def test_a_damaged_folder_is_not_uploaded(folder: Path, hub: list[dict[str, object]], damage: str) -> None:
    if damage == "weights":
        (folder / "model.safetensors").write_bytes(b"damaged")
    elif damage == "config":
        (folder / "config.json").unlink()
    else:
        (folder / "README.md").write_text("---\nlicense: [mit\n---\n# A card\n")
    assert run(folder, "someone/small", status=2).count("error:") == 1
    assert not hub


@pytest.mark.parametrize(
    "error", [LocalTokenNotFoundError("no token"), OSError("no network"), ValueError("wrong")]
)
def test_what_the_hub_raises_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(self: HfApi, name: str, **more: object) -> None:
        raise error

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    found = run(folder, "someone/small", status=2)
    assert found.count("error:") == 1
    assert ("hf auth login" in found) == isinstance(error, LocalTokenNotFoundError)


def test_a_hub_that_cannot_be_reached_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is that of the library below the hub's client, which is of no kind that Python has."""
    create = HfApi.create_repo

    def create_at_a_closed_port(self: HfApi, name: str, **more: object) -> object:
        return create(HfApi(endpoint="http://127.0.0.1:9", token="hf_none"), name, exist_ok=True)

    monkeypatch.setattr(HfApi, "create_repo", create_at_a_closed_port)
    assert "someone/small could not be uploaded: " in run(folder, "someone/small", status=2)
