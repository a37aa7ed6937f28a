"""Folders for work in progress, and what killed processes leave of them."""

import errno
import fcntl
import os

from registry.storage.workspace import JUST_MADE_S, workspace


def leave_behind(parent, *, name=".backup.x.tmp", age_s=2 * JUST_MADE_S):
    folder = parent / name
    folder.mkdir()
    (folder / "archive").write_bytes(b"half")
    moment_s = folder.stat().st_mtime - age_s
    os.utime(folder, (moment_s, moment_s))
    return folder


def test_a_workspace_is_gone_afterwards_and_takes_what_a_killed_one_left_along(tmp_path):
    left = leave_behind(tmp_path)
    with workspace(tmp_path, prefix=".backup.") as folder:
        assert folder.is_dir()
        assert not left.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_that_is_in_use_stays(tmp_path):
    with workspace(tmp_path, prefix=".backup.") as used:
        os.utime(used, (1, 1))
        with workspace(tmp_path, prefix=".backup.") as other:
            assert used.is_dir()
            assert other.is_dir()


def test_other_folders_young_ones_and_links_stay(tmp_path):
    young = leave_behind(tmp_path, age_s=0)
    foreign = leave_behind(tmp_path, name=".restoring.x.tmp")
    link = tmp_path / ".backup.link.tmp"
    link.symlink_to(foreign)
    with workspace(tmp_path, prefix=".backup."):
        assert all(path.exists() for path in (young, foreign, link))


def test_a_disk_that_locks_no_folders_is_worked_on_and_never_swept(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # what NFS says of a lock on what is open for reading

    monkeypatch.setattr(fcntl, "flock", refuse)
    left = leave_behind(tmp_path)
    with workspace(tmp_path, prefix=".backup.") as folder:
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == [left]
