"""Manifests of checkpoints: a damaged one is passed over, old ones go, the newest and best stay."""

import pytest

from prune_ssl.errors import ArtifactError
from prune_ssl.training.manifest import damage, drop_older, find_checkpoint, write_manifest
from prune_ssl.writing import new_file
from tests.support.harms import FILES, binary, empty, missing, other, truncated


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", [truncated, empty, missing, other, binary])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(folder, name, harm):
    assert find_checkpoint(folder, True) == folder / "checkpoint-9"
    harm(folder / "checkpoint-9" / name)
    with pytest.warns(UserWarning, match=rf"{name}.*, so training goes on from .*checkpoint-6, which"):
        assert find_checkpoint(folder, True) == folder / "checkpoint-6"
    harm(folder / "checkpoint-6" / name)
    with pytest.raises(
        ArtifactError, match=rf"cannot resume: .*{name}.* Delete \S+checkpoint-9 to train"
    ) as caught:
        find_checkpoint(folder, True)
    assert "\n" not in str(caught.value)
    with pytest.raises(ArtifactError, match=rf"cannot resume: .*{name}.* Give another checkpoint"):
        find_checkpoint(folder, str(folder / "checkpoint-6"))


def test_half_a_deletion_is_never_resumed_from(folder):
    for name in sorted(path.name for path in (folder / "checkpoint-9").iterdir()):
        (folder / "checkpoint-9" / name).unlink()
        with pytest.warns(UserWarning, match="is missing"):
            assert find_checkpoint(folder, True) == folder / "checkpoint-6"


def test_old_checkpoints_go_and_the_newest_and_best_stay(tmp_path):
    for step in (3, 10, 20, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    drop_older(tmp_path, None)
    assert len(list(tmp_path.iterdir())) == 4
    drop_older(tmp_path, 2, str(tmp_path / "checkpoint-3"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-100", "checkpoint-3"]
    drop_older(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-100"]
    drop_older(tmp_path / "none", 1)


def test_large_files_are_known_by_their_size_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("prune_ssl.training.manifest.HASHED_BYTES", 10)
    (tmp_path / "large").write_bytes(b"x" * 11)
    (tmp_path / "small").write_bytes(b"x" * 10)
    write_manifest(tmp_path)
    (tmp_path / "large").write_bytes(b"y" * 11)
    assert damage(tmp_path) is None
    (tmp_path / "large").write_bytes(b"y" * 12)
    assert damage(tmp_path) == f"{tmp_path / 'large'} has 12 bytes, wanted 11"
    (tmp_path / "large").write_bytes(b"x" * 11)
    (tmp_path / "small").write_bytes(b"y" * 10)
    assert damage(tmp_path) == f"the content of {tmp_path / 'small'} has changed"


def test_what_is_no_error_of_a_file_is_not_taken_for_one(tmp_path):
    with pytest.raises(RuntimeError, match="shapes"), new_file(tmp_path / "x"):
        raise RuntimeError("shapes differ")
