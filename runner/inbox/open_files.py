"""A file or folder → the file in it that a program still has open for writing, as far as the system can tell.

On Linux a read lease is refused while any program, of any user, has the file open for writing. Only the file's owner
may ask; for the files of others the open files of our own user's processes are looked through. On network mounts and
other systems nobody knows: there the settle rule decides alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
import sys
from pathlib import Path

from runner.held_folders import Folder, regular_file
from runner.inbox.entries import files_below

NETWORK_TYPES = ("nfs", "cifs", "smb")  # a lease there is refused for reasons of the server's
PROCESSES = Path("/proc")


class OpenFiles:
    """Writers of files, as far as can be told of those on the disk of `place`."""

    def __init__(self, place: Path) -> None:
        self._can_tell = sys.platform.startswith("linux") and not _is_on_network(place)

    def written(self, folder: Folder, name: str) -> str | None:
        """Path of a file that is being written: `name` itself, or one below it; None when there is none to be seen."""
        with contextlib.suppress(OSError), folder.held() as held:  # it is gone, or cannot be read: the claim finds out
            return self.written_in(held, name)
        return None

    def written_in(self, held: int, name: str) -> str | None:
        """As `written`, in an open folder."""
        if not self._can_tell:
            return None
        with contextlib.suppress(OSError):
            if not stat.S_ISDIR(os.stat(name, dir_fd=held, follow_symlinks=False).st_mode):
                return name if self._is_written(name, held) else None
            for path, _, inner in files_below(name, dir_fd=held, litter=True):
                if self._is_written(path.rpartition("/")[2], inner):
                    return f"{name}/{path}"
        return None

    def _is_written(self, name: str, folder: int) -> bool:
        try:
            with regular_file(name, dir_fd=folder) as file:
                return self.is_written(file)
        except BlockingIOError:
            return True  # another's lease keeps us out
        except OSError:
            return False

    def is_written(self, file: int) -> bool:
        """Whether a program has the open file, of which we hold a descriptor for reading, open for writing."""
        if not self._can_tell:
            return False
        try:
            # The default, SIGIO, would kill us if a program opened the file for writing within the next microseconds.
            fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            return error.errno == errno.EAGAIN or (error.errno == errno.EACCES and _is_written_by_us(os.fstat(file)))
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False


def _is_on_network(folder: Path) -> bool:
    """Whether a lease on files of the folder tells of the server's promises instead of writers."""
    try:
        mounts = [line.split() for line in (PROCESSES / "self/mountinfo").read_text("utf-8", "replace").splitlines()]
        place = os.path.realpath(folder)
    except OSError:
        return False
    found = [(fields[4].replace("\\040", " "), fields[fields.index("-") + 1]) for fields in mounts]
    below = [each for each in found if f"{place}/".startswith(each[0].rstrip("/") + "/")]
    kind = max(below, key=lambda each: len(each[0]), default=("", ""))[1]
    return kind.startswith(NETWORK_TYPES)


def _is_written_by_us(wanted: os.stat_result) -> bool:
    """Whether a process whose open files we may see has the file open for writing."""
    for process in PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for number in os.listdir(process / "fd"):  # noqa: PTH208 - names alone, of which there may be thousands
                with contextlib.suppress(OSError, ValueError):
                    status = (process / "fd" / number).stat()
                    if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino) and _writes(process, number):
                        return True
    return False


def _writes(process: Path, number: str) -> bool:
    facts = dict(line.split(":", 1) for line in (process / "fdinfo" / number).read_text().splitlines() if ":" in line)
    return int(facts["flags"], 8) & os.O_ACCMODE != os.O_RDONLY
