import pytest

from tests.runner.bench import Bench


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
        bench.context.database.close()
