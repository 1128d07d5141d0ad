"""A stopped run that several tests of the room go on from."""

import shutil

import pytest

from tests.support.models import checksum
from tests.support.stopping import StopAt, Stopped, finish, make, stop


@pytest.fixture(scope="session")
def killed(tmp_path_factory):
    """The folder of a run that was stopped at step 11: checkpoints 6 and 9; and how it should end."""
    folder = tmp_path_factory.mktemp("killed")
    trainer = make(folder)
    trainer.add_callback(StopAt(11, stop))
    with pytest.raises(Stopped):
        trainer.train()
    small, plan = finish(make(tmp_path_factory.mktemp("whole")))
    return folder, (checksum(small), plan)


@pytest.fixture
def folder(killed, tmp_path):
    shutil.copytree(killed[0], tmp_path / "run")
    return tmp_path / "run"
