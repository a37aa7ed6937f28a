"""A request rings at the inbox: whoever watches it is woken, and nothing stays there."""

import threading

from runner.inbox.bell import ring
from runner.inbox.watcher import InboxWatcher
from tests.patience import PATIENCE_S


def test_a_watcher_hears_the_bell_and_finds_nothing(tmp_path):
    heard = threading.Event()
    watcher = InboxWatcher(tmp_path, moved=lambda _: None, wake=heard.set)
    assert watcher.ensure()
    heard.clear()  # of the beginning of the watch
    ring(tmp_path)
    assert heard.wait(PATIENCE_S)
    assert list(tmp_path.iterdir()) == []
    watcher.close()


def test_an_inbox_that_is_gone_is_no_error(tmp_path):
    ring(tmp_path / "gone")
