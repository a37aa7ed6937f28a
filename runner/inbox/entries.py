"""A folder → its entries: what each is, and a signature that changes when it does.

This module reads the disk and changes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from runner.held_folders import Folder, held_inside

MAX_TREE_ENTRIES = 100_000
MAX_TREE_DEPTH = 32

JOB_SUFFIXES = (".toml", ".json")
VOICE_SUFFIXES = (".vox",)

# A file that a well-behaved program is still writing, under a name that it will not keep.
_TEMPORARY = re.compile(r"\..*|.*\.(part|tmp|temp|partial|filepart|crdownload|download)", re.IGNORECASE | re.DOTALL)
# Left behind by editors, sync tools and operating systems; never meant for us.
_LITTER = re.compile(
    r"""\..*                                   # hidden: .DS_Store, .nfs…, ._resource, .~lock…, .syncthing.…
      | .*~ | \#.*\# | ~\$.*                   # backups and locks of editors and office programs
      | .*\.(swp|swo|swx|bak|orig|kate-swp)    # of vim and others
      | .*\.(part|tmp|temp|partial|filepart|crdownload|download|!sync|icloud)
      | .*\.sb-[0-9a-f]{8}-\w{6}               # macOS safe-save
      | 4913                                   # vim probes a folder with it
      | thumbs\.db | desktop\.ini | icon\r | __macosx | lost\+found | \$recycle\.bin | @eadir
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)

Signature = tuple[int, ...]


class Kind(Enum):
    JOB = "job file"
    VOICE = "voice file"
    FOLDER = "folder"
    ATTACHMENT = "attachment"
    SPECIAL = "special"  # a link, FIFO, socket or device
    UNNAMEABLE = "unnameable"  # its name is not UTF-8
    TEMPORARY = "temporary"
    LITTER = "litter"


@dataclass(frozen=True)
class Entry:
    """Entry of the inbox as it was at one look."""

    name: str  # as the file system gives it; undecodable bytes as surrogates
    kind: Kind
    signature: Signature
    inode: tuple[int, int]  # device, inode
    mtime_ns: int
    ctime_s: float
    job_files: int = 1  # of a folder: job files at its top


def is_utf8(name: str) -> bool:
    """False for a name with bytes that are not UTF-8, which Python keeps as surrogates."""
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


def is_temporary(name: str) -> bool:
    """Whether a file has such a name while it is written: hidden, `.part`, `.tmp` and the like."""
    return _TEMPORARY.fullmatch(name) is not None


def is_litter(name: str) -> bool:
    """Whether a name never belongs to a job or an attachment."""
    return _LITTER.fullmatch(name) is not None


def has_job_suffix(name: str) -> bool:
    return name.casefold().endswith(JOB_SUFFIXES)


def list_entries(inbox: Path) -> list[Entry]:
    """Every entry of the inbox, folders with their whole tree. Raises OSError when the inbox cannot be read."""
    entries = []
    with Folder(inbox).held() as held, os.scandir(held) as found:
        for item in found:
            try:
                entries.append(_entry(item, held))
            except OSError:
                continue  # gone since the folder was read, or a bad sector: the next look will show
    return entries


def _entry(item: os.DirEntry[str], inbox: int) -> Entry:
    status = item.stat(follow_symlinks=False)
    kind = _kind(item.name, status.st_mode)
    signature: Signature = signature_of(status)
    job_files = 1
    if kind is Kind.FOLDER:
        tree = tree_signature(item.name, dir_fd=inbox)
        signature, job_files = (*signature, *tree.signature), tree.job_files
    inode = (status.st_dev, status.st_ino)
    return Entry(item.name, kind, signature, inode, status.st_mtime_ns, status.st_ctime, job_files)


def _kind(name: str, mode: int) -> Kind:
    if is_litter(name):
        return Kind.TEMPORARY if is_temporary(name) else Kind.LITTER
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return Kind.SPECIAL
    if not is_utf8(name):
        return Kind.UNNAMEABLE
    if stat.S_ISDIR(mode):
        return Kind.FOLDER
    if has_job_suffix(name):
        return Kind.JOB
    return Kind.VOICE if name.casefold().endswith(VOICE_SUFFIXES) else Kind.ATTACHMENT


def signature_of(status: os.stat_result) -> Signature:
    """Values that change when a file is written to, replaced, or given to others; the settle rule compares them."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, *access_of(status))


def access_of(status: os.stat_result) -> Signature:
    """Values that decide who may do what with a file or folder."""
    return (status.st_mode, status.st_uid, status.st_gid)


class Below(NamedTuple):
    """Entry somewhere below a folder."""

    path: str  # from that folder
    status: os.stat_result
    folder: int  # descriptor of the folder that it is in, until the next one is asked for

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def entries_below(name: str, *, dir_fd: int) -> Iterator[Below]:
    """Everything below a folder, up to MAX_TREE_ENTRIES and MAX_TREE_DEPTH; no link is followed.

    Unreadable parts are skipped: a job that names a file in them is refused when that is opened. Not `os.fwalk`, which
    blocks on a FIFO that was put in the place of a folder.
    """
    return _below(name, "", dir_fd, iter(range(MAX_TREE_ENTRIES)))


def _below(name: str, prefix: str, parent: int, left: Iterator[int]) -> Iterator[Below]:
    with contextlib.suppress(OSError), held_inside(name, parent) as folder:
        folders = []
        with os.scandir(folder) as found:
            for item, _ in zip(found, left, strict=False):
                with contextlib.suppress(OSError):
                    status = item.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        folders.append(item.name)
                    yield Below(prefix + item.name, status, folder)
        if prefix.count("/") < MAX_TREE_DEPTH:
            for each in folders:
                yield from _below(each, f"{prefix}{each}/", folder, left)


def files_below(name: str, *, dir_fd: int, litter: bool = False) -> Iterator[Below]:
    """Each regular file below a folder, as `entries_below`; without litter, unless that is asked for."""
    found = entries_below(name, dir_fd=dir_fd)
    return (each for each in found if stat.S_ISREG(each.status.st_mode) and (litter or not is_litter(each.name)))


@dataclass(frozen=True)
class Tree:
    """Signature of everything below a folder, and the number of job files at its top."""

    signature: Signature
    job_files: int


def tree_signature(name: str, *, dir_fd: int) -> Tree:
    """Tree below a folder, as far as `entries_below` goes."""
    content: list[tuple[str, Signature]] = []
    job_files = 0
    for each in entries_below(name, dir_fd=dir_fd):
        content.append((each.path, signature_of(each.status)))
        is_job = "/" not in each.path and has_job_suffix(each.path) and not is_litter(each.path)
        job_files += is_job and stat.S_ISREG(each.status.st_mode)
    digest = hashlib.sha256(ascii(sorted(content)).encode()).digest()
    return Tree((len(content), int.from_bytes(digest[:7], "big")), job_files)
