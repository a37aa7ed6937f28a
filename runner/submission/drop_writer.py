"""A checked job → a drop in the inbox, which appears by one rename, so it is claimed at once.

Touches the disk.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.durable_files import fsync_file
from registry.errors import InvalidInput, ReadOnly, storage_error
from registry.jobs.jobs import by_key, free_name
from registry.jobs.lists import LedgerMark, mark
from registry.storage.connection import WRITABLE_AGAIN
from registry.storage.database import Database
from registry.voices.names import name_key
from runner.config.instance import Instance
from runner.errors import JobFileInvalid, UsageProblem
from runner.held_folders import Folder, move_new, remove_tree
from runner.inbox.attachments import copy_below
from runner.inbox.entries import has_job_suffix, is_litter, is_temporary
from runner.inbox.leftovers import unfinished_name
from runner.names import job_name_from
from runner.submission.checked_job import JobOnDisk, checked_content


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """Drop that was put into the inbox."""

    path: Path
    key: str | None  # the job's `id`
    since: LedgerMark  # just before


def submit_job(
    instance: Instance, job: JobOnDisk, *, name: str | None = None, database: Database | None = None
) -> Submitted:
    """Drop a job, with the files it names, under `name` or its file's name, made unique in the inbox.

    Nothing is dropped where no runner could answer. Raises UsageProblem for a name that the inbox would ignore,
    StorageError when it, or the ledger, cannot be written, DamagedData and others when the ledger cannot be read.
    """
    file_name = name or job.file_name
    _check_drop_name(file_name)
    instance.prepare()
    since = _mark(instance, job, database)
    try:
        name = _drop(instance.inbox, job, file_name)
    except OSError as error:
        raise storage_error(error, f"writing into {instance.inbox}") from error
    return Submitted(path=instance.inbox / name, key=job.spec.id, since=since)


def _check_drop_name(file_name: str) -> None:
    """Raises UsageProblem for a name that the inbox would ignore, or that is a path."""
    if "/" in file_name or "\0" in file_name or is_temporary(file_name) or is_litter(file_name):
        raise UsageProblem(
            f"{file_name!r} cannot be the name of a drop.",
            hint="Leave out slashes, a leading dot, and endings of temporary files.",
        )


def job_name_for(instance: Instance, job: JobOnDisk, *, file_name: str) -> str:
    """Name that a job gets when it is dropped now: its `id`, or a name that nothing in ledger, outbox and inbox has."""
    _check_drop_name(file_name)
    instance.prepare()
    with Database.open(instance.database_path, root=instance.root) as database, database.read() as session:
        if job.spec.id is not None and (holder := by_key(session, job.spec.id)) is not None:
            return holder.name
        folders = [instance.outbox] if job.spec.id is not None else [instance.outbox, instance.inbox]
        taken = {name_key(job_name_from(name)) for folder in folders for name in _names_in(folder)}
        return free_name(session, job.spec.id or job_name_from(file_name), taken=taken)[0]


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError as error:
        raise storage_error(error, f"listing {folder}") from error


def _mark(instance: Instance, job: JobOnDisk, database: Database | None) -> LedgerMark:
    with contextlib.ExitStack() as stack:
        if database is None:
            database = stack.enter_context(Database.open(instance.database_path, root=instance.root))
        if database.is_read_only:
            raise ReadOnly(f"{database.path} is on a disk that can only be read.", hint=WRITABLE_AGAIN)
        with database.read() as session:
            return mark(session, key=job.spec.id)


def withdraw(submitted: Submitted) -> bool:
    """Take a drop back; False when it is claimed already: a claim is a rename, so only one of us has it."""
    path, own = submitted.path, unfinished_name("withdrawn")
    try:
        with Folder(path.parent).held() as inbox:
            os.rename(path.name, own, src_dir_fd=inbox, dst_dir_fd=inbox)
            remove_tree(own, dir_fd=inbox)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise storage_error(error, f"taking {path} back") from error
    return True


def _drop(inbox: Path, job: JobOnDisk, file_name: str) -> str:
    """The name under which the drop appears. Others may write into the inbox: nothing goes through a link of theirs."""
    temporary = unfinished_name("submit")
    with Folder(inbox).held() as held:
        try:
            if job.referenced:
                os.mkdir(temporary, dir_fd=held)
                _fill(Folder(inbox) / temporary, job, file_name)
            else:
                _write(temporary, job.content, dir_fd=held)
            wanted = job_name_from(file_name) if job.referenced else file_name
            name = move_new(temporary, wanted, src_dir_fd=held, dst_dir_fd=held)
        except BaseException:
            with contextlib.suppress(OSError):
                remove_tree(temporary, dir_fd=held)
            raise
        os.fsync(held)
    return name


def _fill(folder: Folder, job: JobOnDisk, file_name: str) -> None:
    """Put the job file, and the files that it names, into the drop's folder."""
    for path in job.referenced:
        copy_below(job.folder, path, folder)
    at_top = [path for path in job.referenced if "/" not in path and has_job_suffix(path)]
    with folder.held() as held:
        _write(f"job{Path(file_name).suffix}" if at_top else file_name, job.content, dir_fd=held)
        os.fsync(held)


def _write(name: str, content: bytes, *, dir_fd: int) -> None:
    """Make a new file; nothing that has its name is replaced or followed."""
    with open(name, "xb", opener=functools.partial(os.open, mode=0o666, dir_fd=dir_fd)) as file:
        file.write(content)
        file.flush()
        fsync_file(file.fileno())


def job_from_values(values: dict[str, Any], *, name: str, folder: Path | None = None) -> JobOnDisk:
    """Job file made by a command, to be dropped like any other. Raises InvalidInput: nobody wrote that file."""
    content = json.dumps(values, ensure_ascii=False, indent=2).encode() + b"\n"
    try:
        return checked_content(content, file_name=f"{name}.json", folder=folder or Path.cwd())
    except JobFileInvalid as error:
        raise InvalidInput("\n".join(error.sentences)) from None
