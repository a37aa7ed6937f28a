"""Results written where a person says: through links, into pipes and devices, never over them."""

import contextlib
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import InvalidPath
from registry.errors import NotFound
from runner.errors import UsageProblem
from runner.output_files import check_target, write_target


def test_a_link_stays_a_link_and_its_file_is_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/file")
    for content in (b"first", b"second"):
        write_target(tmp_path / "link", content)
        assert (tmp_path / "folder/file").read_bytes() == content
    assert (tmp_path / "link").is_symlink() and len(list((tmp_path / "folder").iterdir())) == 1


def test_a_pipe_is_written_into_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    program = f"import sys; sys.stdout.write(open({str(pipe)!r}).read())"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as reader:
        write_target(pipe, b"x" * 200_000)
        assert reader.communicate()[0] == b"x" * 200_000
    assert pipe.is_fifo()


def test_devices_and_descriptors_are_written_into(tmp_path):
    with contextlib.suppress(PermissionError):  # a node of our own, which only root can make
        os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        write_target(tmp_path / "null", b"gone")
        assert (tmp_path / "null").is_char_device()
    with (tmp_path / "log").open("ab") as log:
        log.write(b"before ")
        log.flush()
        write_target(Path(f"/dev/fd/{log.fileno()}"), b"after")
    assert (tmp_path / "log").read_bytes() == b"before after"


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("absent/file")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    refusals = {"loop": InvalidPath, "dangling": NotFound, "socket": UsageProblem, ".": UsageProblem}
    for name, refusal in refusals.items():
        with pytest.raises(refusal):
            check_target(tmp_path / name)
