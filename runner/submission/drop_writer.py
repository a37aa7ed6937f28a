"""A checked job → a drop in the inbox, which appears by one rename, so it is claimed at once.

Touches the disk and the clock.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.durable_files import fsync_file, fsync_folder, write_durably
from registry.errors import storage_error
from runner.config.instance import Instance
from runner.errors import UsageProblem
from runner.inbox.attachments import copy_below
from runner.inbox.claims import free_path
from runner.inbox.entries import has_job_suffix, is_litter, is_temporary
from runner.names import job_name_from
from runner.submission.checked_job import JobOnDisk, checked_content


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """Drop that was put into the inbox."""

    path: Path
    key: str | None  # the job's `id`
    dropped_s: float  # epoch seconds, just before


def submit_job(instance: Instance, job: JobOnDisk, *, name: str | None = None) -> Submitted:
    """Drop a job, with the files it names, under `name` or its file's name, made unique in the inbox.

    Raises UsageProblem for a name that the inbox would ignore, StorageError when it cannot be written.
    """
    instance.prepare()
    file_name = name or job.file_name
    if "/" in file_name or "\0" in file_name or is_temporary(file_name) or is_litter(file_name):
        raise UsageProblem(
            f"{file_name!r} cannot be the name of a drop.",
            hint="Leave out slashes, a leading dot, and endings of temporary files.",
        )
    dropped_s = time.time()
    try:
        path = (
            _drop_folder(instance.inbox, job, file_name)
            if job.referenced
            else _drop_file(instance.inbox, job, file_name)
        )
    except OSError as error:
        raise storage_error(error, f"writing into {instance.inbox}") from error
    return Submitted(path=path, key=job.spec.id, dropped_s=dropped_s)


def _drop_file(inbox: Path, job: JobOnDisk, file_name: str) -> Path:
    temporary = inbox / f".submit-{secrets.token_hex(8)}.tmp"
    write_durably(temporary, job.content)
    return _appear(temporary, inbox, file_name)


def _drop_folder(inbox: Path, job: JobOnDisk, file_name: str) -> Path:
    temporary = inbox / f".submit-{secrets.token_hex(8)}.tmp"
    temporary.mkdir()
    try:
        at_top = [path for path in job.referenced if "/" not in path and has_job_suffix(path)]
        job_file = f"job{Path(file_name).suffix}" if at_top else file_name
        for path in job.referenced:
            copy_below(job.folder, path, temporary / path)
        with (temporary / job_file).open("xb") as file:
            file.write(job.content)
            file.flush()
            fsync_file(file.fileno())
        for folder, _, _ in os.walk(temporary):
            fsync_folder(Path(folder))
        return _appear(temporary, inbox, job_name_from(file_name))
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _appear(temporary: Path, inbox: Path, name: str) -> Path:
    target = free_path(inbox, name)
    temporary.rename(target)
    fsync_folder(inbox)
    return target


def job_from_values(values: dict[str, Any], *, name: str, folder: Path | None = None) -> JobOnDisk:
    """Job file made by a command, to be dropped like any other. Raises JobFileInvalid."""
    content = json.dumps(values, ensure_ascii=False, indent=2).encode() + b"\n"
    return checked_content(content, file_name=f"{name}.json", folder=folder or Path.cwd())
