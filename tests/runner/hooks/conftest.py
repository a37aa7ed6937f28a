import pytest

from tests.runner.hooks.receiver import Receiver


@pytest.fixture
def make_receiver():
    made = []

    def make(status=204):
        made.append(Receiver(status))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


@pytest.fixture
def receiver(make_receiver):
    return make_receiver()
