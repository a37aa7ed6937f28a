"""A runner that dies between the end of a job and its notice, or right after: the next one tells it."""

import pytest

from tests.regimes.yard import CRASH_EXIT_STATUS, Yard
from tests.runner.hooks.receiver import Receiver


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("step", "times"), [("finishing.receipt-published", 1), ("hooks.before-delivery", 1), ("hooks.delivered", 2)]
)
def test_a_notice_survives_a_crash_at_any_step(tmp_path, receiver, step, times):
    yard = Yard(tmp_path)
    settings = yard.root / "voicejobs.toml"
    hook = f'[[hooks]]\non = ["job.done"]\nurl = "{receiver.url}"\n'
    settings.write_text(settings.read_text() + hook, encoding="utf-8")
    yard.drop("hello", lines=["Hello."])
    assert yard.drain(VOICEJOBS_CRASH_AT=step) == CRASH_EXIT_STATUS
    assert yard.drain() == 0
    assert [notice["data"]["job"] for notice in receiver.notices] == ["hello"] * times
    assert len(set(receiver.ids)) == 1
    assert yard.drain() == 0
    assert len(receiver.requests) == times
