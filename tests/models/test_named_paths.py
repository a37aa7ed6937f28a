"""Paths that people name: expanded, bounded, and read without hanging."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import InvalidPath
from models.named_paths import named_path, read_named, shown_path, status_of

BAD = {
    "empty": ("", "empty"),
    "nul": ("a\0b", "NUL"),
    "surrogate": ("a\udc80", "UTF-8"),
    "nobody": ("~nosuchuser/x", "no user 'nosuchuser'"),
    "long-name": ("é" * 128, "longer than 255 bytes"),
    "long": ("/".join(["x" * 200] * 30), "longer than"),
}


@pytest.mark.parametrize(("written", "reason"), BAD.values(), ids=BAD)
def test_what_cannot_be_a_path_is_refused_with_the_reason(written, reason):
    with pytest.raises(InvalidPath, match=reason):
        named_path(written)


def test_a_path_is_below_its_folder_unless_it_is_absolute_or_at_home(tmp_path):
    environ = {"HOME": "/homes/me"}
    assert named_path("a/b", below=tmp_path, environ=environ) == tmp_path / "a/b"
    assert named_path("/a", below=tmp_path, environ=environ) == Path("/a")
    assert named_path("~/a", below=tmp_path, environ=environ) == Path("/homes/me/a")
    assert named_path("a/~", environ=environ) == Path("a/~")


def test_a_path_in_a_message_holds_nothing_that_a_terminal_obeys():
    assert shown_path("plain name") == "plain name"
    assert shown_path("\x1b[31m\u202e\x9b").isprintable() and len(shown_path("x" * 9_000)) < 200


def test_links_that_go_in_a_circle_are_refused_and_absent_files_are_none(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    assert status_of(tmp_path / "absent") is None and status_of(tmp_path / "file" / "below") is None
    with pytest.raises(InvalidPath, match="cannot be used"):
        status_of(tmp_path / "loop")


def test_pipes_are_read_to_their_end_and_a_silent_one_does_not_hang(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InvalidPath, match="nothing came"):
        read_named(pipe, limit_bytes=10, silent_s=0.05)
    with pytest.raises(InvalidPath, match="a pipe"):
        read_named(pipe, limit_bytes=10, silent_s=0)
    with subprocess.Popen([sys.executable, "-c", f"open({str(pipe)!r}, 'w').write('hello')"]):
        assert read_named(pipe, limit_bytes=10) == b"hello"


def test_endless_devices_are_read_to_the_limit_and_folders_not_at_all(tmp_path):
    assert len(read_named(Path("/dev/zero"), limit_bytes=100_000)) == 100_001
    assert read_named(Path("/dev/null"), limit_bytes=10) == b""
    with pytest.raises(InvalidPath, match="a folder"):
        read_named(tmp_path, limit_bytes=10)
