"""A job's file by name → its bytes, whole or a range of them; only files that its receipt or its lines name.

Opened by descriptors, never through a link. Touches the disk.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from registry.errors import NotFound, storage_error
from registry.jobs import lines
from registry.jobs.jobs import by_name
from registry.jobs.values import OPEN_STATUSES, Job
from registry.storage.session import Session
from runner.held_folders import LINK_ERRORS, Folder, read_at_most, regular_file
from runner.outbox.outbox import RECEIPT, job_file_name
from runner.script.cast.script_files import CAST_FILE, SCRIPT_FILE
from runner.serve.context import ServeContext
from runner.serve.errors import RequestRefused

BLOCK_BYTES = 1 << 18
MEDIA_TYPES = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "m4b": "audio/mp4",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "json": "application/json",
    "toml": "application/toml",
    "txt": "text/plain; charset=utf-8",
}
SCRIPT = "script"
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class FileAnswer(Response):
    """An open file, which is closed once it has been sent, or the client has gone."""

    def __init__(self, file: int, *, name: str, wanted: str | None, context: ServeContext) -> None:
        status = os.fstat(file)
        self._file, self._context = file, context
        self._start, self._end = 0, status.st_size
        headers = {
            "Accept-Ranges": "bytes",
            "Last-Modified": formatdate(status.st_mtime, usegmt=True),
            "Cache-Control": "no-cache",
        }
        code = 200
        if wanted and (found := RANGE.fullmatch(wanted.strip())) and any(found.groups()):
            code = 206
            self._start, self._end = _span(found[1], found[2], size=status.st_size)
            headers["Content-Range"] = f"bytes {self._start}-{self._end - 1}/{status.st_size}"
        headers["Content-Length"] = str(self._end - self._start)
        suffix = name.rpartition(".")[2].lower()
        super().__init__(None, code, headers, MEDIA_TYPES.get(suffix, "application/octet-stream"))
        self.raw_headers = [pair for pair in self.raw_headers if pair != (b"content-length", b"0")]

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            position = self._end if scope["method"] == "HEAD" else self._start
            while position < self._end:
                block = await self._context.in_thread(functools.partial(self._block, position))
                if not block:
                    return  # it was cut meanwhile: the connection is broken, so that the client knows
                position += len(block)
                await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            os.close(self._file)

    def _block(self, position: int) -> bytes:
        return os.pread(self._file, min(BLOCK_BYTES, self._end - position), position)


def _span(first: str, last: str, *, size: int) -> tuple[int, int]:
    """First byte of a range and the one after its last. Raises RequestRefused for one beyond the end."""
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= size or start >= end:
        raise RequestRefused(
            416,
            f"The file has {size:,} bytes.",
            wire_code="range-not-satisfiable",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end


async def file_answer(request: Request, context: ServeContext, *, job: str, name: str) -> Response:
    """The file of a job. Raises JobNotFound, and NotFound for a file that it does not have."""
    folder = await context.read(lambda session: _folder_with(session, job, name))
    file = await context.in_thread(lambda: _opened(context, folder, name))
    try:
        return FileAnswer(file, name=name, wanted=request.headers.get("range"), context=context)
    except BaseException:
        os.close(file)
        raise


def _folder_with(session: Session, job_name: str, name: str) -> str:
    job = by_name(session, job_name)
    if ("/" not in name and name in set(_names(job))) or lines.is_published_file(session, job.id, name):
        return job.name
    raise NotFound(f"The job {job.name!r} has no file {name!r}.", hint="Its receipt names its files.")


def _names(job: Job) -> Iterator[str]:
    if job.status not in OPEN_STATUSES:
        yield RECEIPT
    if job.facts.get("job_file"):
        yield job_file_name(job.facts["job_file"])
    if job.kind == SCRIPT:
        yield from (CAST_FILE, SCRIPT_FILE)
    yield from _files_in({"track": job.facts.get("track"), "files": job.facts.get("files")})


def _files_in(value: Any) -> Iterator[str]:
    """Every `file` in a receipt's facts, however deep."""
    if isinstance(value, dict):
        if isinstance(value.get("file"), str):
            yield value["file"]
        for inner in value.values():
            yield from _files_in(inner)
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, str):
                yield inner
            yield from _files_in(inner)


def script_files(context: ServeContext, job: Job) -> list[str]:
    """Names of the files that say what a script's job has made of its source, as far as they are there."""
    folder = context.instance.outbox / job.name
    return [name for name in (CAST_FILE, SCRIPT_FILE) if job.kind == SCRIPT and (folder / name).is_file()]


def file_start(context: ServeContext, job: str, name: str, *, limit_bytes: int) -> bytes:
    """The first bytes of a published file. Raises NotFound when it is gone."""
    file = _opened(context, job, name)
    try:
        return read_at_most(file, limit_bytes)
    finally:
        os.close(file)


def _opened(context: ServeContext, job: str, name: str) -> int:
    """Descriptor of a published file. Raises NotFound when it is gone, or is no file any more."""
    try:
        with contextlib.ExitStack() as held:
            folder = held.enter_context((Folder(context.instance.outbox) / job).held())
            return os.dup(held.enter_context(regular_file(name, dir_fd=folder)))
    except FileNotFoundError:
        raise NotFound(f"{name!r} is no longer in the outbox.", hint="Somebody has taken it away.") from None
    except OSError as error:
        if error.errno in (*LINK_ERRORS, errno.ENXIO):
            raise NotFound(f"{name!r} is not a file of the outbox.") from None
        raise storage_error(error, f"reading {name}") from error
