"""Bytes in → their SHA-256; the SHA-256 → the same bytes, unchanged. This module touches the disk.

An object is at `<folder>/ab/cdef…`. It is written whole before anything refers to it, never changed, and
checked whenever it is read. Any column whose name ends in `_object` refers to one, and keeps it from `gc`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from registry.durable_files import (
    crash_point,
    fsync_file,
    fsync_folder,
    held_lock,
    make_folder_durably,
    read_regular,
    sha256_of,
    temporary_beside,
    this_writer,
    write_all_durably,
)
from registry.errors import DamagedData, InvalidInput, NotFound, storage_error

_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_sha256(value: object) -> bool:
    """Whether a value is a SHA-256 as lower-case hex."""
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


class ObjectMissing(NotFound):
    code = "object-missing"

    def __init__(self, sha256: str, path: Path) -> None:
        super().__init__(f"The stored bytes {sha256[:12]}… are gone ({path}).", hint="Restore them from a backup.")


class ObjectDamaged(DamagedData):
    code = "object-damaged"

    def __init__(self, path: Path) -> None:
        super().__init__(f"The stored bytes in {path} have changed on disk.", hint="Restore them from a backup.")


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """One file of the store."""

    sha256: str
    size_bytes: int
    modified_s: float


class ObjectStore:
    """A folder of bytes named by their SHA-256. Any number of processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shelves: set[Path] = set()  # folders that this process knows to be durable

    def path(self, sha256: str) -> Path:
        """Place of these bytes, whether they are there or not. Raises InvalidInput for anything but 64 hex digits."""
        if not is_sha256(sha256):
            raise InvalidInput(f"{sha256!r} is no SHA-256: 64 lower-case hex digits were expected.")
        return self.folder / sha256[:2] / sha256[2:]

    def put(self, content: bytes) -> str:
        """Store bytes durably and return their SHA-256; bytes already there are checked and made to look new.

        Refer to the result, in a committed row, before the grace period of `gc` is over.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        self.put_all({sha256: content})
        return sha256

    def put_all(self, contents: Mapping[str, bytes]) -> None:
        """As `put`, for many at once, which takes little longer than one: their syncs run side by side.

        Every key is the SHA-256 of its bytes.
        """
        paths = {sha256: self.path(sha256) for sha256 in contents}
        try:
            self._make_shelves({path.parent for path in paths.values()})
            with self._lock(shared=True):
                new = [(path, contents[sha256]) for sha256, path in paths.items() if not self._looks_new(sha256)]
                crash_point("objects.before-write")
                for error in write_all_durably(new, writer=this_writer(), private=True).values():
                    raise error
                crash_point("objects.written")
        except OSError as error:
            raise storage_error(error, f"writing to {self.folder}") from error

    def put_stream(self, write: Callable[[BinaryIO], None]) -> str:
        """As `put`, for bytes that need not fit into memory: `write` puts them into an empty file."""
        temporary = temporary_beside(self.folder / "00" / "stream", writer=this_writer())
        try:
            self._make_shelves({temporary.parent})
            with open(temporary, "w+b", opener=_private) as file:
                write(file)
                file.flush()
                fsync_file(file.fileno())
            crash_point("objects.stream-synced")
            sha256 = sha256_of(temporary)
            path = self.path(sha256)
            self._make_shelves({path.parent})
            with self._lock(shared=True):
                if not self._looks_new(sha256):
                    temporary.rename(path)
                    fsync_folder(path.parent)
                crash_point("objects.written")
        except OSError as error:
            raise storage_error(error, f"writing to {self.folder}") from error
        finally:
            with contextlib.suppress(OSError):  # it has been renamed, or `sweep` removes it later
                temporary.unlink(missing_ok=True)
        return sha256

    def _make_shelves(self, wanted: Collection[Path]) -> None:
        """The folders for new objects, durable before anything is put into them."""
        missing = [shelf for shelf in wanted if shelf not in self._shelves or not shelf.is_dir()]
        if missing:
            make_folder_durably(self.folder)
            for shelf in missing:
                shelf.mkdir(exist_ok=True)
            fsync_folder(self.folder)
            self._shelves.update(missing)

    def _looks_new(self, sha256: str) -> bool:
        """Make bytes that are whole look new to `gc`; False when they have to be written."""
        if not self.is_whole(sha256):
            return False
        os.utime(self.path(sha256))
        return True

    def read(self, sha256: str) -> bytes:
        """The bytes, checked. Raises ObjectMissing, ObjectDamaged or another StorageError."""
        with self._reading(sha256) as path:
            content = read_regular(path)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ObjectDamaged(path)
        return content

    def whole(self, sha256: str) -> Path:
        """Place of bytes that were read and checked. Raises ObjectMissing, ObjectDamaged or another StorageError."""
        with self._reading(sha256) as path:
            found = sha256_of(path)
        if found != sha256:
            raise ObjectDamaged(path)
        return path

    @contextlib.contextmanager
    def _reading(self, sha256: str) -> Iterator[Path]:
        """Place of an object; what the system says while it is read is raised as ObjectMissing or a StorageError."""
        path = self.path(sha256)
        try:
            yield path
        except FileNotFoundError:
            raise ObjectMissing(sha256, path) from None
        except OSError as error:
            raise storage_error(error, f"reading {path}") from error

    def __contains__(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def is_whole(self, sha256: str) -> bool:
        """True when the bytes are there and unchanged; every byte is read. Unreadable bytes are not whole."""
        try:
            return sha256_of(self.path(sha256)) == sha256
        except OSError:
            return False

    def remove_unused(self, sha256: str, *, older_than_s: float) -> bool:
        """Remove bytes last put before `older_than_s` (epoch seconds); False when they are newer or gone.

        The caller has made sure that nothing refers to them. `put` and this exclude one another, so bytes that
        are just being put again are either seen as new here, or written again there.
        """
        path = self.path(sha256)
        try:
            with self._lock(shared=False):
                if path.stat().st_mtime >= older_than_s:
                    return False
                path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise storage_error(error, f"removing {path}") from error
        return True

    def __iter__(self) -> Iterator[StoredObject]:
        """Every object of the store, in the order of its name."""
        for path in self._files():
            sha256 = path.parent.name + path.name
            if is_sha256(sha256):
                with contextlib.suppress(FileNotFoundError):  # removed since the folder was listed
                    facts = path.stat()
                    yield StoredObject(sha256=sha256, size_bytes=facts.st_size, modified_s=facts.st_mtime)

    def strays(self) -> Iterator[Path]:
        """Files in the store that are no objects: left half-written by a killed process, or put there by somebody."""
        for path in self._files():
            if not is_sha256(path.parent.name + path.name):
                yield path

    def sweep(self, *, older_than_s: float, dry_run: bool = False) -> tuple[int, int]:
        """Number and bytes of half-written files, left by killed processes, that were removed or would be."""
        removed = freed_bytes = 0
        for path in self.strays():
            with contextlib.suppress(OSError):  # removed meanwhile, or a disk that can only be read
                facts = path.lstat()
                if path.name.endswith(".tmp") and facts.st_mtime < older_than_s:
                    if not dry_run:
                        path.unlink()
                    removed += 1
                    freed_bytes += facts.st_size
        return removed, freed_bytes

    def _files(self) -> Iterator[Path]:
        if self.folder.is_dir():
            for shelf in sorted(entry for entry in self.folder.iterdir() if entry.is_dir()):
                yield from sorted(shelf.iterdir())

    @contextlib.contextmanager
    def _lock(self, *, shared: bool) -> Iterator[None]:
        with held_lock(self.folder / ".lock", shared=shared):
            yield


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)
