"""Things that the tests of the model directory need: a home folder, a directory, and a hub."""

import pytest

from tests.models_dir.fake_hub import FakeHub
from tests.models_dir.making import home_environment


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
