"""Things that the tests of the model directory need: a home folder, a directory, and a hub."""

import os
import shutil
from pathlib import Path

import pytest

from models.migrate.move_folder import SPARE_BYTES
from tests.models.fetch.fake_hub import FakeHub
from tests.models.store.making import home_environment


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "shared"


@pytest.fixture
def hub():
    running = FakeHub().start()
    yield running
    running.stop()


@pytest.fixture
def environment(home, hub):
    """A fake home whose hub is the one on the loopback interface."""
    return home_environment(home, HF_ENDPOINT=hub.address)


@pytest.fixture
def events():
    return []


@pytest.fixture
def other_disk(tmp_path):
    """A folder on another file system than the temporary folder's."""
    root = Path("/dev/shm")
    if not root.is_dir() or root.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    if shutil.disk_usage(root).free < 2 * SPARE_BYTES:
        pytest.skip("the second file system here is too small")
    folder = root / f"voicejobs-test-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)
