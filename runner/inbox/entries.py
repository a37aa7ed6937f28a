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
    with os.scandir(inbox) as found:
        for item in found:
            try:
                entries.append(_entry(item))
            except OSError:
                continue  # gone since the folder was read, or a bad sector: the next look will show
    return entries


def _entry(item: os.DirEntry[str]) -> Entry:
    status = item.stat(follow_symlinks=False)
    kind = _kind(item.name, status.st_mode)
    signature: Signature = signature_of(status)
    job_files = 1
    if kind is Kind.FOLDER:
        tree = tree_signature(Path(item.path))
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


def files_below(name: str, *, dir_fd: int, litter: bool = False) -> Iterator[tuple[str, os.stat_result, int]]:
    """Path, status and open folder of each regular file below a folder, without litter; no link is followed."""
    for count, (parent, folders, names, inner) in enumerate(os.fwalk(name, dir_fd=dir_fd)):
        prefix = parent[len(name) + 1 :] + "/" if parent != name else ""
        if count > MAX_TREE_ENTRIES or prefix.count("/") > MAX_TREE_DEPTH:
            folders.clear()
            continue
        for each in names:
            with contextlib.suppress(OSError):
                status = os.stat(each, dir_fd=inner, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and (litter or not is_litter(each)):
                    yield prefix + each, status, inner


@dataclass(frozen=True)
class Tree:
    """Signature of everything below a folder, and the number of job files at its top."""

    signature: Signature
    job_files: int


def tree_signature(folder: Path) -> Tree:
    """Tree below `folder`, up to MAX_TREE_ENTRIES and MAX_TREE_DEPTH; unreadable parts are skipped."""
    content: list[tuple[str, Signature]] = []
    job_files = 0
    for depth, relative, status in _walk(folder):
        if len(content) >= MAX_TREE_ENTRIES or depth > MAX_TREE_DEPTH:
            break
        content.append((relative, signature_of(status)))
        visible_job = has_job_suffix(relative) and not is_litter(relative)
        job_files += depth == 1 and stat.S_ISREG(status.st_mode) and visible_job
    digest = hashlib.sha256(ascii(sorted(content)).encode()).digest()
    return Tree((len(content), int.from_bytes(digest[:7], "big")), job_files)


def _walk(folder: Path) -> Iterator[tuple[int, str, os.stat_result]]:
    waiting = [(1, "", folder)]
    while waiting:
        depth, prefix, current = waiting.pop()
        try:
            with os.scandir(current) as found:
                items = list(found)
        except OSError:
            continue  # unreadable or gone; a job that names a file in it is refused when that is opened
        for item in items:
            try:
                status = item.stat(follow_symlinks=False)
            except OSError:
                continue
            yield depth, prefix + item.name, status
            if stat.S_ISDIR(status.st_mode) and depth <= MAX_TREE_DEPTH:
                waiting.append((depth + 1, f"{prefix}{item.name}/", Path(item.path)))
