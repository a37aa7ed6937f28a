from functools import partial
from pathlib import Path

import pytest

from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.inbox.scanner import InboxScanner
from tests.runner.worker.bench import Bench


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    made = Bench(tmp_path)
    yield made
    made.context.database.close()


@pytest.fixture
def make_bench(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    made = []

    def make(**settings):
        made.append(Bench(tmp_path, **settings))
        return made[-1]

    yield make
    for bench in made:
        bench.worker.close()
        bench.context.database.close()


@pytest.fixture
def listening_bench(make_bench):
    """Makes benches whose recogniser is PocketSphinx, unless another is given."""
    return partial(make_bench, recogniser="pocketsphinx")


@pytest.fixture
def instance(tmp_path) -> Instance:
    made = Instance(tmp_path, Settings(min_free_bytes=0))
    made.prepare()
    return made


@pytest.fixture
def inbox(instance) -> Path:
    return instance.inbox


@pytest.fixture
def scanner(instance) -> InboxScanner:
    return InboxScanner(instance)
