"""A safetensors file → what is wrong with its structure, in milliseconds: the header is read, the data never.

This catches truncation, text files of Git LFS or Xet in place of weights, and holes that a broken
transfer left. It does not catch flipped bits; hashes do (`models.store.manifest`). Verdicts on files that have not
changed are remembered, so a listing of hundreds of models reads no header twice.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import math
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from registry.durable_files import read_regular, temporary_beside, this_writer

CACHE_FILE = ".voicejobs-checks.json"
CACHE_VERSION = 1
MAX_CACHE_BYTES = 64_000_000
MAX_HEADER_BYTES = 8_000_000  # some 70,000 tensors; the format allows 100 MB, which take 6 s and 800 MB to parse
POINTER_STARTS = (b"version https://git-lfs", b"# xet version", b"version https://xet")
POINTER_MAX_BYTES = 4_096

ELEMENT_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


def safetensors_problem(path: Path) -> str | None:
    """Problem that makes `path` unusable as weights, in words; None when its structure is whole.

    Checked: the header parses, every tensor has the bytes that its shape and type need, the tensors cover the
    data without gap or overlap, the file is exactly as long as the header says, and no part of it is a hole.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    try:
        return _problem_of(descriptor)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    finally:
        os.close(descriptor)


def _problem_of(descriptor: int) -> str | None:
    file_bytes = os.fstat(descriptor).st_size
    start = os.pread(descriptor, 64, 0)
    if file_bytes <= POINTER_MAX_BYTES and start.startswith(POINTER_STARTS):
        return "is a Git LFS or Xet pointer, not weights"
    if len(start) < 8:
        return f"is truncated: {file_bytes} bytes are less than a header"
    (header_bytes,) = struct.unpack("<Q", start[:8])
    if start[8:9] != b"{":
        return "is no safetensors file"
    if header_bytes > MAX_HEADER_BYTES:
        return f"announces a header of {header_bytes:,} bytes, and at most {MAX_HEADER_BYTES:,} are read"
    if 8 + header_bytes > file_bytes:
        return f"is truncated inside its header: {file_bytes} of at least {8 + header_bytes} bytes"
    data_bytes, problem = _data_extent(os.pread(descriptor, header_bytes, 8))
    if problem is not None:
        return problem
    expected_bytes = 8 + header_bytes + data_bytes
    if file_bytes != expected_bytes:
        kind = "is truncated" if file_bytes < expected_bytes else "has bytes after its end"
        return f"{kind}: {file_bytes} bytes, where its header says {expected_bytes}"
    hole = _first_hole(descriptor, file_bytes)
    return None if hole is None else f"has a hole at byte {hole}: a transfer left it unwritten"


@functools.lru_cache(maxsize=32)  # the models of one family carry the same codec
def _data_extent(encoded: bytes) -> tuple[int, str | None]:
    """The bytes that a header's tensors cover, and the problem with it."""
    try:
        header: Any = json.loads(encoded)
    except (ValueError, RecursionError):
        return 0, "has a header that does not parse"
    if not isinstance(header, dict):
        return 0, "has a header that is no table of tensors"
    header.pop("__metadata__", None)
    spans: list[tuple[int, int]] = []
    for name, tensor in header.items():  # a thousand tensors a model, hundreds of models a listing: kept plain
        try:
            begin, end = tensor["data_offsets"]
            fits = end - begin == (math.prod(tensor["shape"]) * ELEMENT_BITS[tensor["dtype"]] + 7) >> 3
        except (TypeError, ValueError, KeyError):
            return 0, f"describes the tensor {name!r} in a way that we do not know"
        if not fits or type(begin) is not int or type(end) is not int:
            return 0, f"gives the tensor {name!r} other bytes than its shape needs"
        spans.append((begin, end))
    spans.sort()
    reached = 0
    for begin, end in spans:
        if begin != reached:
            return 0, f"has a gap or an overlap at data byte {reached}"
        reached = end
    return (reached, None) if spans else (0, "holds no tensors")


def _first_hole(descriptor: int, file_bytes: int) -> int | None:
    """The first byte of the file that was never written; None when the file system knows of none."""
    if not hasattr(os, "SEEK_HOLE"):
        return None
    try:
        hole = os.lseek(descriptor, 0, os.SEEK_HOLE)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENXIO, errno.ENOTSUP, errno.EOPNOTSUPP):
            return None  # a file system without holes, or without a way to ask
        raise
    return hole if hole < file_bytes else None


def file_stamp(path: Path) -> list[int] | None:
    """Facts that change with every write to a file; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


class VerdictCache:
    """Verdicts on the weight files below one models directory, in a file there.

    A verdict counts while the file's inode, size and both times are the same; any write to the file changes one of
    them. Losing the cache costs time.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / CACHE_FILE
        self._known: dict[str, list[Any]] = self._read()
        self._seen: dict[str, list[Any]] = {}
        self._is_new = False

    def _read(self) -> dict[str, list[Any]]:
        try:
            content = json.loads(read_regular(self.path, at_most=MAX_CACHE_BYTES))
        except (OSError, ValueError, RecursionError):
            return {}  # absent or damaged: everything is checked again
        files = content.get("files") if isinstance(content, dict) and content.get("version") == CACHE_VERSION else None
        return files if isinstance(files, dict) else {}

    def problem(self, path: Path) -> str | None:
        """Problem as by `safetensors_problem`, from the cache where nothing has changed."""
        key = str(path)
        stamp = file_stamp(path)
        if stamp is None:
            return safetensors_problem(path)
        known = self._known.get(key)
        if isinstance(known, list) and known[:-1] == stamp:
            self._seen[key] = known
            found: str | None = known[-1]
            return found
        found = safetensors_problem(path)
        self._seen[key] = [*stamp, found]
        self._is_new = True
        return found

    def verdict(self, key: str, paths: Sequence[Path], *, judge: Callable[[], str | None] | None) -> str | None:
        """Another verdict, on some files, from the cache where none has changed; None where it may not be sought."""
        stamp = [file_stamp(path) for path in paths]
        known = self._known.get(key)
        if not (isinstance(known, list) and known[:-1] == stamp):
            if judge is None:
                return None
            known = [*stamp, judge()]
            self._is_new = True
        self._seen[key] = known
        found: str | None = known[-1]
        return found

    def save(self) -> None:
        """Keep new verdicts, and those on files that are still there. A directory that we may only read keeps none."""
        if not self._is_new and len(self._seen) == len(self._known):
            return
        left = {key: known for key, known in self._known.items() if Path(key.partition("#")[0]).exists()}
        self._seen = {**left, **self._seen}
        temporary = temporary_beside(self.path, writer=this_writer())
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps({"version": CACHE_VERSION, "files": self._seen}))
            temporary.replace(self.path)  # not synced: after a power cut a torn cache is only a slow listing
