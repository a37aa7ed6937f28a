"""A folder and its new path → the folder there; a crash at any step leaves it whole in one of the two places.

This module touches the disk. Each step is announced in the journal before it is taken; `recover` reads the journal
and finishes or takes back what a crash interrupted. The caller holds the model's lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

from models.errors import CannotMove
from models.migrate.folder_files import (
    copy_checked,
    entries_below,
    record_of,
    recorded_files,
    remove_empty_folders,
    sync_tree,
)
from models.migrate.journal import ABORTED, DONE, PUBLISHED, STAGED, Journal, Operation
from models.store.manifest import read_provenance, write_provenance
from models.store.shared_directory import INCOMING_FOLDER
from registry.durable_files import crash_point, fsync_folder, rename_durably
from registry.errors import StorageError

SPARE_BYTES = 64 << 20  # room left on a disk beyond what a copy needs


def new_operation(
    *, migration: str, action: str, model: str, source: Path, target: Path, undoes: str = ""
) -> Operation:
    """An operation that has not begun; its staging folder is on the target's own disk."""
    key = uuid.uuid4().hex
    staged = action in ("copy", "adopt")
    staging = target.parent / INCOMING_FOLDER / f"{target.name}.{os.getpid()}" if staged else None
    if action == "remove":
        staging = source.parent / INCOMING_FOLDER / f"{source.name}.{os.getpid()}.removed"
    return Operation(
        id=key, migration=migration, action=action, model=model, source=source, target=target,
        staging=staging, undoes=undoes,
    )  # fmt: skip


def same_disk(source: Path, directory: Path) -> bool:
    """Whether a rename from `source` into `directory`, which may not exist yet, stays on one file system."""
    existing = directory
    while not existing.exists():
        existing = existing.parent
    return source.stat().st_dev == existing.stat().st_dev


def perform(operation: Operation, journal: Journal, *, revision: str | None = None) -> Operation:
    """Carry out one operation from its beginning. Raises CannotMove, with everything as it was before.

    Never overwrites: something at the target, of any kind, is a refusal.
    """
    if operation.action != "remove" and os.path.lexists(operation.target):
        raise CannotMove(f"{operation.target} exists already.")
    try:
        operation = replace(operation, files=recorded_files(operation.source), inode=operation.source.stat().st_ino)
        journal.begin(operation)
        crash_point(f"models.{operation.action}.begun")
        return _carry_out(operation, journal, revision=revision)
    except OSError as error:
        detail = error.strerror or str(error)
        _abort(operation, journal, reason=detail)
        raise CannotMove(f"{operation.source} cannot be taken to {operation.target}: {detail}.") from error
    except StorageError as error:
        _abort(operation, journal, reason=error.message)
        raise


def _carry_out(operation: Operation, journal: Journal, *, revision: str | None) -> Operation:
    if operation.action in ("rename", "displace"):
        operation.target.parent.mkdir(parents=True, exist_ok=True)
        rename_durably(operation.source, operation.target)
        crash_point(f"models.{operation.action}.renamed")
        return _finish(operation, journal)
    if operation.action == "remove":
        return _remove_target(operation, journal)
    return _stage(operation, journal, revision=revision)


def _finish(operation: Operation, journal: Journal) -> Operation:
    journal.step(operation, DONE, reason=operation.reason)
    crash_point(f"models.{operation.action}.done")
    return replace(operation, state=DONE)


def _abort(operation: Operation, journal: Journal, *, reason: str) -> None:
    """Remove the staged files; only an operation whose target was never published comes here."""
    if operation.action == "remove" and not operation.source.exists():
        return  # its name is gone and its files are not: it stays interrupted, and recovery goes on with it
    if operation.staging is not None and operation.action != "remove":
        shutil.rmtree(operation.staging, ignore_errors=True)
    with contextlib.suppress(OSError):  # the disk may be the very thing that failed; recovery aborts it then
        journal.step(operation, ABORTED, reason=reason)


def _stage(operation: Operation, journal: Journal, *, revision: str | None) -> Operation:
    """Bring every file into the staging folder, then publish it by one rename."""
    assert operation.staging is not None
    shutil.rmtree(operation.staging, ignore_errors=True)
    operation.staging.mkdir(parents=True)
    if operation.action == "copy":
        check_space(operation.staging, sum(file.size_bytes for file in operation.files))
    for path, kind in entries_below(operation.source):
        _stage_entry(path, operation.staging / path.relative_to(operation.source), kind=kind, action=operation.action)
        crash_point(f"models.{operation.action}.file")
    if operation.action == "adopt":
        known = (read_provenance(operation.source) or {}).get("revision")
        write_provenance(operation.staging, repository=operation.model, revision=revision or known, source="adopted")
    sync_tree(operation.staging)
    if operation.action == "adopt":
        operation = replace(operation, files=recorded_files(operation.staging))
    journal.step(operation, STAGED, files=operation.files)
    crash_point(f"models.{operation.action}.staged")
    return _publish(operation, journal)


def _publish(operation: Operation, journal: Journal) -> Operation:
    assert operation.staging is not None
    rename_durably(operation.staging, operation.target)
    crash_point(f"models.{operation.action}.renamed")
    if operation.undoes:  # then its staging folder was in a folder of somebody else's, which is left as it was found
        with contextlib.suppress(OSError):
            operation.staging.parent.rmdir()
    journal.step(operation, PUBLISHED)
    crash_point(f"models.{operation.action}.published")
    return _clear_source(operation, journal)


def _clear_source(operation: Operation, journal: Journal) -> Operation:
    """After a copy: remove, at the source, exactly the files that were copied and have not changed since."""
    if operation.action == "copy":
        try:
            _remove_copied_files(operation)
        except OSError as error:  # a read-only disk: the model is in its place, and its original stays
            operation = replace(operation, reason=f"{operation.source} could not be removed: {error.strerror}")
    return _finish(operation, journal)


def _remove_copied_files(operation: Operation) -> None:
    for file in operation.files:
        path = operation.source / file.path
        is_copied = record_of(operation.target / file.path, operation.target) == file
        if is_copied and record_of(path, operation.source) == file:
            path.unlink()
            crash_point("models.copy.removed")
    remove_empty_folders(operation.source)
    if operation.source.parent.is_dir():
        fsync_folder(operation.source.parent)


def _remove_target(operation: Operation, journal: Journal) -> Operation:
    """Remove a folder: its name by one rename, then its files."""
    assert operation.staging is not None
    if operation.source.exists():
        operation.staging.parent.mkdir(parents=True, exist_ok=True)
        rename_durably(operation.source, operation.staging)
    crash_point("models.remove.renamed")
    shutil.rmtree(operation.staging, ignore_errors=True)
    if operation.staging.exists():
        raise OSError(errno.ENOTEMPTY, "its files cannot be removed", str(operation.staging))
    return _finish(operation, journal)


def _stage_entry(source: Path, target: Path, *, kind: str, action: str) -> None:
    """Bring one entry into the staging folder: by hard link where adopting allows it, else by a checked copy."""
    if kind == "folder":
        target.mkdir(parents=True, exist_ok=True)
    elif kind == "link" and action == "copy":
        target.symlink_to(source.readlink())
    elif kind == "other":
        raise CannotMove(f"{source} is no regular file.", hint="Remove it, or move the model by hand.")
    else:
        real = source.resolve(strict=True)
        if not real.is_file():
            raise CannotMove(f"{source} leads to something that is no file.", hint="Move the model by hand.")
        if not (action == "adopt" and _linked(real, target)):
            copy_checked(real, target)


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES, errno.ENOSYS):
            return False  # another disk, or a file system or policy without hard links
        raise
    return True


def check_space(folder: Path, needed_bytes: int) -> None:
    """Raises CannotMove when the disk of `folder` has no room for `needed_bytes`."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes + SPARE_BYTES:
        hint = "Free some space, or choose a model directory on a larger disk with --models-dir."
        raise CannotMove(f"{folder} has {free_bytes} bytes free and needs {needed_bytes}.", hint=hint)


def recover_one(operation: Operation, journal: Journal) -> str:
    """Finish or take back one interrupted operation; says which, in words."""
    if operation.action in ("rename", "displace"):
        return _recover_rename(operation, journal)
    if operation.action == "remove":
        _remove_target(operation, journal)
        return f"The removal of {operation.source} was finished."
    published = operation.state in (STAGED, PUBLISHED)
    if published and operation.state == STAGED and operation.staging is not None and operation.staging.exists():
        if os.path.lexists(operation.target):
            published = False  # somebody else put a model there meanwhile: theirs stays
        else:
            _publish(operation, journal)
            return f"{operation.model} was copied whole before the interruption; it is in its place now."
    if published:
        _clear_source(operation, journal)
        return f"The move of {operation.model} from {operation.source} was finished."
    _abort(operation, journal, reason="interrupted")
    return f"The interrupted copy of {operation.source} was taken back; the original is untouched."


def _recover_rename(operation: Operation, journal: Journal) -> str:
    try:
        arrived = operation.target.stat().st_ino == operation.inode
    except OSError:
        arrived = False
    if arrived:
        _finish(operation, journal)
        return f"The move of {operation.model} from {operation.source} had been finished."
    _abort(operation, journal, reason="interrupted")
    return f"The move of {operation.model} had not begun; {operation.source} is where it was."
