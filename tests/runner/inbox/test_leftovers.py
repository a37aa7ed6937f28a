"""Drops that a killed command left half written in the inbox go when a runner starts a day later."""

import time

from runner.inbox.leftovers import ABANDONED_S, sweep_unfinished, unfinished_name


def test_half_written_drops_are_removed_once_nobody_can_be_writing_them(tmp_path):
    folder, file = tmp_path / unfinished_name("submit"), tmp_path / unfinished_name("withdrawn")
    folder.mkdir()
    (folder / "a.wav").write_bytes(b"RIFF")
    file.write_text("kind")
    others = [tmp_path / ".submit-mine.tmp", tmp_path / ".hidden.tmp", tmp_path / "job.toml"]
    for other in others:
        other.write_text("somebody else's")
    assert sweep_unfinished(tmp_path, now_s=time.time()) == 0
    assert sweep_unfinished(tmp_path, now_s=time.time() + ABANDONED_S + 60) == 2
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_a_link_with_such_a_name_is_removed_and_not_followed(tmp_path):
    (tmp_path / "inbox").mkdir()
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "inbox" / unfinished_name("submit")).symlink_to(tmp_path / "kept")
    assert sweep_unfinished(tmp_path / "inbox", now_s=time.time() + ABANDONED_S + 60) == 1
    assert (tmp_path / "kept").read_text() == "kept"


def test_an_inbox_that_is_away_is_no_error(tmp_path):
    assert sweep_unfinished(tmp_path / "away", now_s=time.time()) == 0
