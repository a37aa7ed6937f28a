"""Finished audio, captions and receipts → whole files in `outbox/<job>/`. This module touches the disk.

Every file appears by one rename and may be written again, always with the same bytes. Many are made durable at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from registry.durable_files import (
    crash_point,
    fsync_file,
    make_folder_durably,
    new_file,
    replace_in,
    sha256_of_stream,
    temporary_beside,
    write_all_durably,
)
from registry.errors import StorageError, storage_error
from registry.voices.names import name_key
from runner.config.instance import Instance
from runner.errors import OutboxGone
from runner.held_folders import (
    LINK_ERRORS,
    Folder,
    held_inside,
    is_folder,
    names_in,
    read_at_most,
    regular_file,
    remove_tree,
)
from runner.inbox.entries import files_below

RECEIPT = "result.json"
JOBS_AT_ONCE = 100  # whose folders are held open
GONE_HINT = "Mount its disk, or create it again: work goes on by itself."
TEMPORARY = re.compile(r"\..+\.tmp", re.DOTALL)  # what `temporary_beside` gives


@dataclass(frozen=True)
class Outbox:
    """The folder where answers appear.

    One that has gone is created again only in the instance itself: below an empty mount point nobody would find them.
    """

    folder: Path
    is_own: bool = False  # it is in the instance, on its disk
    mount_point: Path | None = None  # of the disk that it was on at first
    device: int | None = None  # that disk, as the system numbers it; mounted again, it may have another number

    @classmethod
    def of(cls, instance: Instance) -> Outbox:
        """The outbox on the disk where it is now, if it is; on another one it counts as gone."""
        folder = instance.outbox
        if not folder.is_dir():
            return cls(folder)
        device = folder.stat().st_dev
        is_own = instance.holds(folder) and device == instance.state_dir.stat().st_dev
        return cls(folder, is_own=is_own, mount_point=mount_point_of(folder), device=device)

    def require(self) -> None:
        """Raises OutboxGone when the outbox is not where it was."""
        if self._is_there():
            return
        if self.is_own and not os.path.lexists(self.folder):
            with _system_errors(f"creating {self.folder}"):
                make_folder_durably(self.folder)
            return
        raise OutboxGone(f"The outbox {self.folder} is gone.", hint=GONE_HINT)

    def _is_there(self) -> bool:
        try:
            status = self.folder.stat()
        except OSError:
            return False
        is_same_disk = self.device in (None, status.st_dev) or mount_point_of(self.folder) == self.mount_point
        return stat.S_ISDIR(status.st_mode) and is_same_disk

    def names(self) -> set[str]:
        """Name keys of everything in the outbox. Raises OutboxGone, since any name may be taken."""
        self.require()
        try:
            return {name_key(path.name) for path in self.folder.iterdir()}
        except OSError as error:
            raise storage_error(error, f"listing {self.folder}") from error

    def files_of(self, job_name: str) -> set[str]:
        """Name keys of everything in the job's folder; empty when that is gone. Raises StorageError."""
        return {name_key(name) for name in self.names_of(job_name)}

    def names_of(self, job_name: str) -> list[str]:
        """Names of everything in the job's folder, as `files_of`."""
        with _system_errors(f"listing {self.folder / job_name}"), contextlib.suppress(FileNotFoundError):
            return self._of(job_name).names()
        return []

    def read(self, job_name: str, name: str) -> bytes:
        """A regular file of a job's folder. Raises OSError, also for a link."""
        place = self._of(job_name) / name
        with Folder(place.root, place.parts[:-1]).held() as folder, regular_file(name, dir_fd=folder) as file:
            return read_at_most(file, os.fstat(file).st_size)

    def _of(self, job_name: str) -> Folder:
        """The folder of a job's files. Others may write into the outbox: it is never reached through a link."""
        return Folder(self.folder) / job_name

    @contextlib.contextmanager
    def _job_folder(self, job_name: str) -> Iterator[int]:
        """A job's folder, held open; made when it is missing, since whoever empties the outbox may take it away."""
        self.require()
        with contextlib.ExitStack() as held:
            with _system_errors(f"opening {self.folder / job_name}"):
                folder = held.enter_context(self._of(job_name).held(make=True))
            yield folder

    def publish(self, job_name: str, files: Mapping[str, bytes]) -> None:
        """Make these files appear in the job's folder. Raises StorageError."""
        for error in self.publish_many({job_name: files}).values():
            raise error

    def publish_many(self, files: Mapping[str, Mapping[str, bytes]]) -> dict[str, StorageError]:
        """Make files (by job name and file name) appear; returns the jobs whose folders cannot be written, and why.

        Raises DiskFull and OutboxGone, which concern every job.
        """
        errors: dict[str, StorageError] = {}
        wanted = [(job_name, named) for job_name, named in files.items() if named]
        for start in range(0, len(wanted), JOBS_AT_ONCE):
            self._publish(dict(wanted[start : start + JOBS_AT_ONCE]), errors)
        return errors

    def _publish(self, files: Mapping[str, Mapping[str, bytes]], errors: dict[str, StorageError]) -> None:
        self.require()
        with contextlib.ExitStack() as held:
            folders = self._held_folders(files, errors, held)
            contents = [
                (self.folder / job_name / name, content)
                for job_name, named in files.items()
                if job_name not in errors
                for name, content in named.items()
            ]
            crash_point("publish.before-write")
            for path, error in write_all_durably(contents, folders=folders).items():
                _note(errors, path.parent.name, storage_error(error, f"writing {path}"))
        crash_point("publish.file")

    def _held_folders(
        self, job_names: Iterable[str], errors: dict[str, StorageError], held: contextlib.ExitStack
    ) -> dict[Path, int]:
        """Descriptors of these jobs' folders, which are made and synced into the outbox all at once."""
        folders: dict[Path, int] = {}
        with _system_errors(f"opening {self.folder}"):
            outbox = held.enter_context(Folder(self.folder).held())
        made = False
        for job_name in job_names:
            try:
                path = self._of(job_name).path
                with contextlib.suppress(FileExistsError):
                    os.mkdir(job_name, dir_fd=outbox)
                    made = True
                folders[path] = held.enter_context(held_inside(job_name, outbox))
            except OSError as error:
                _note(errors, job_name, _error(error, f"creating {self.folder / job_name}"))
        if made:
            with _system_errors(f"syncing {self.folder}"):
                os.fsync(outbox)
        return folders

    def publish_stream(self, job_name: str, name: str, write: Callable[[BinaryIO], None]) -> str:
        """Make a file appear that `write` fills piece by piece; returns its SHA-256."""
        target = self.folder / job_name / name
        temporary = temporary_beside(target)
        with self._job_folder(job_name) as folder, _system_errors(f"writing {target}"):
            try:
                with new_file(temporary, folder=folder) as file:
                    write(file)
                    file.flush()
                    fsync_file(file.fileno())
                    crash_point("publish.stream-synced")
                    file.seek(0)
                    digest = sha256_of_stream(file)
                replace_in(temporary, target, folder=folder)
                os.fsync(folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary.name, dir_fd=folder)
                raise
        crash_point("publish.file")
        return digest

    def sweep(self, job_names: Iterable[str]) -> dict[str, StorageError]:
        """Remove what killed runners left half written: one runner owns the outbox, so nobody is writing it now.

        Returns and raises as `publish_many`.
        """
        errors: dict[str, StorageError] = {}
        for job_name in job_names:
            try:
                with _system_errors(f"sweeping {self.folder / job_name}"), self._job_folder(job_name) as folder:
                    for name in filter(TEMPORARY.fullmatch, names_in(folder)):
                        if not is_folder(name, dir_fd=folder):  # ours are files
                            os.unlink(name, dir_fd=folder)
            except StorageError as error:
                _note(errors, job_name, error)
        return errors

    def retire_receipt(self, job_name: str) -> None:
        """Before a retry: `result.json` becomes `result.N.json`, N the first number that is free."""
        self.require()
        renaming = _system_errors(f"renaming {self.folder / job_name / RECEIPT}")
        with renaming, contextlib.suppress(FileNotFoundError), self._of(job_name).held() as folder:
            names = set(names_in(folder))
            number = next(number for number in itertools.count(1) if f"result.{number}.json" not in names)
            if RECEIPT in names:
                os.rename(RECEIPT, f"result.{number}.json", src_dir_fd=folder, dst_dir_fd=folder)
                crash_point("files.moved")
                os.fsync(folder)
        crash_point("publish.retired")

    def put_away(self, job_name: str, name: str) -> None:
        """Give a job's folder another, hidden name, so that its own is free. Raises OSError."""
        if _is_name(job_name):
            with Folder(self.folder).held() as outbox, contextlib.suppress(FileNotFoundError):
                os.rename(job_name, name, src_dir_fd=outbox, dst_dir_fd=outbox)

    def remove(self, job_name: str) -> None:
        """Delete a job's folder. Raises OSError."""
        if _is_name(job_name):
            with Folder(self.folder).held() as outbox:
                remove_tree(job_name, dir_fd=outbox)

    def size_of(self, job_name: str) -> int:
        """Bytes of all files in a job's folder."""
        with contextlib.suppress(OSError), Folder(self.folder).held() as outbox:
            if _is_name(job_name):
                return sum(status.st_size for _, status, _ in files_below(job_name, dir_fd=outbox, litter=True))
        return 0


def _is_name(job_name: str) -> bool:
    """Whether a job of this name, which a restored ledger may hold, can have a folder in the outbox."""
    return job_name not in ("", ".", "..") and "/" not in job_name


def mount_point_of(folder: Path) -> Path:
    """The folder where the disk that holds `folder` is mounted."""
    return next(place for place in (folder, *folder.parents) if os.path.ismount(place) or place == place.parent)


def _note(errors: dict[str, StorageError], job_name: str, error: StorageError) -> None:
    if error.is_instance_wide:
        raise error
    errors.setdefault(job_name, error)


def read_job_file(path: Path, *, limit_bytes: int) -> bytes | None:
    """The job file as it was dropped; None when there is none to show (a folder without one, a link, a device)."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
    except (FileNotFoundError, PermissionError):
        return None
    except OSError as error:
        raise storage_error(error, f"reading {path}") from error
    return content if len(content) <= limit_bytes else None


def job_file_name(name: str) -> str:
    """The job file's name in the outbox: its own, unless our files need that name."""
    plain = name_key(name)
    is_ours = plain == RECEIPT or (plain.startswith("result.") and plain.endswith(".json"))
    return f"dropped-{name}" if is_ours else name


def sha256_hex(content: bytes) -> str:
    """SHA-256 as lower-case hex."""
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def _system_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _error(error, doing) from error


def _error(error: OSError, doing: str) -> StorageError:
    found = storage_error(error, doing)
    if error.errno in LINK_ERRORS:
        found.hint = "A link or a file has its name: move that away, and work goes on by itself."
    return found
