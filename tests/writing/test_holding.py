"""A run that holds its folder makes nothing in it again once it is gone."""

import pytest

from prune_ssl.errors import ArtifactError
from prune_ssl.writing import lock, remove, write_text


def test_what_is_deleted_under_a_run_is_not_made_again(tmp_path):
    for act in (remove, lambda path: path.rename(tmp_path / "away")):
        out = tmp_path / "out"
        out.mkdir()
        with lock(out) as held:
            held.guard()
            write_text(out / "deep" / "x", "x")
            act(out)
            with pytest.raises(ArtifactError, match=r"was deleted, moved or replaced while this run"):
                write_text(out / "deep" / "y", "y")
            assert not out.exists()
        write_text(out / "deep" / "y", "y")  # nobody's run any more
        remove(out)
