"""File events of the inbox."""

import os
import queue
import sys

import pytest

from runner.inbox.watcher import InboxWatcher, InotifyEvents, WatchdogEvents
from tests.patience import PATIENCE_S

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")
KINDS = [pytest.param(InotifyEvents, marks=LINUX), WatchdogEvents]


@pytest.mark.parametrize("kind", KINDS)
def test_a_rename_within_the_inbox_is_told_by_name(tmp_path, kind):
    moved, woken = queue.Queue(), queue.Queue()
    events = kind(tmp_path, moved=moved.put, wake=lambda: woken.put(1))
    (tmp_path / ".x.toml").touch()
    (tmp_path / ".x.toml").rename(tmp_path / "x.toml")
    assert moved.get(timeout=PATIENCE_S) == "x.toml"
    assert woken.get(timeout=PATIENCE_S)
    events.close()


@LINUX
def test_a_file_moved_in_from_elsewhere_is_told_by_name(tmp_path):
    inbox, moved = tmp_path / "inbox", queue.Queue()
    inbox.mkdir()
    events = InotifyEvents(inbox, moved=moved.put, wake=lambda: None)
    name = os.fsdecode(b"bad\xff.toml")
    (tmp_path / "y").touch()
    (tmp_path / "y").rename(inbox / name)
    assert moved.get(timeout=PATIENCE_S) == name
    events.close()


def test_a_watcher_arms_itself_again_when_the_inbox_is_back(tmp_path):
    inbox, woken = tmp_path / "inbox", queue.Queue()
    watcher = InboxWatcher(inbox, moved=lambda _: None, wake=lambda: woken.put(1))
    assert not watcher.ensure()
    inbox.mkdir()
    assert watcher.ensure()
    assert woken.get(timeout=PATIENCE_S)
    inbox.rename(tmp_path / "away")
    assert woken.get(timeout=PATIENCE_S)
    assert not watcher.ensure()
    inbox.mkdir()
    assert watcher.ensure()
    watcher.close()
    assert not watcher.active


def test_a_file_made_in_the_inbox_wakes_the_scan(tmp_path):
    woken = queue.Queue()
    watcher = InboxWatcher(tmp_path, moved=lambda _: None, wake=lambda: woken.put(1))
    watcher.ensure()
    woken.get(timeout=PATIENCE_S)
    (tmp_path / "x.toml").touch()
    assert woken.get(timeout=PATIENCE_S)
    watcher.close()
