"""A server with its runner for all tests that change no settings; each test gives its jobs names of their own."""

import pytest

from tests.runner.serve.served import Served, free_port


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    made = Served(tmp_path_factory.mktemp("served"), serve='[serve.voices]\nalloy = "ryan"\n')
    made.wyoming_port = free_port()
    made.start_runner()
    made.start()
    yield made
    made.stop()
