"""The body of a request → a job file and its attachments in a folder of our own, within the limits.

Nothing that a request says becomes a path: a name is checked to be a plain file name first. Touches the disk.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import stat
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO

import anyio
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from runner.jobfile.syntax import MAX_FILE_BYTES
from runner.names import plain_file_name, printable_name
from runner.serve.context import ServeContext
from runner.serve.errors import RequestRefused

SUFFIXES = {"application/toml": ".toml", "application/json": ".json"}
JOB_PART = "job"
UPLOADS = "uploads"  # in the state folder
MOST_PARTS = 200
MOST_HEADER_BYTES = 16_384  # of one part
LEFT_BEHIND_S = 86_400.0


@dataclass(kw_only=True)
class Upload:
    """Job file of a request, and the folder with its attachments."""

    content: bytes
    file_name: str
    folder: Path
    attachments: set[str] = field(default_factory=set)


@contextlib.asynccontextmanager
async def received(request: Request, context: ServeContext, *, name: str | None) -> AsyncIterator[Upload]:
    """The upload of a request, until it has been dropped. Raises RequestRefused."""
    kind, options = parse_options_header(request.headers.get("content-type", "").encode())
    media_type = kind.decode("latin-1")
    if media_type not in (*SUFFIXES, "multipart/form-data"):
        said = f"{printable_name(media_type)!r} is no job file" if media_type else "There is no Content-Type"
        hint = f"Send {', '.join(SUFFIXES)}, or multipart/form-data with a part named {JOB_PART!r}."
        raise RequestRefused(415, f"{said}.", hint=hint, wire_code="unsupported-media-type")
    folder = await context.in_thread(lambda: new_folder(context.instance.state_dir))
    try:
        if media_type in SUFFIXES:
            content = await read_body(request, limit_bytes=MAX_FILE_BYTES)
            yield Upload(content=content, file_name=f"{name or JOB_PART}{SUFFIXES[media_type]}", folder=folder)
        else:
            parts = Parts(folder)
            await receive_parts(request, options.get(b"boundary", b""), parts, context)
            yield parts.upload(name)
    finally:
        with anyio.CancelScope(shield=True):  # also when the client has gone
            await context.in_thread(lambda: shutil.rmtree(folder, ignore_errors=True))


def sweep_uploads(state_dir: Path, *, now_s: float | None = None) -> None:
    """Remove what killed servers have left of uploads."""
    before_s = (time.time() if now_s is None else now_s) - LEFT_BEHIND_S
    for folder in (state_dir / UPLOADS).glob("*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_mtime < before_s:
                shutil.rmtree(folder, ignore_errors=True)


def new_folder(state_dir: Path) -> Path:
    """A folder of its own for an upload, which only this user can read."""
    uploads = state_dir / UPLOADS
    uploads.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
    return Path(mkdtemp(dir=uploads))


async def chunks_of(request: Request) -> AsyncIterator[bytes]:
    """The body of a request as it comes. Raises RequestRefused when it breaks off."""
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise malformed("The request broke off before its end.") from None


async def read_body(request: Request, *, limit_bytes: int) -> bytes:
    """The whole body of a request. Raises RequestRefused above a limit, which no memory is spent on."""
    content = bytearray()
    async for chunk in chunks_of(request):
        content += chunk
        if len(content) > limit_bytes:
            raise too_large(limit_bytes)
    return bytes(content)


def too_large(limit_bytes: int) -> RequestRefused:
    """The answer to a body above a limit."""
    return RequestRefused(
        413,
        f"The request is larger than {limit_bytes:,} bytes.",
        wire_code="too-large",
        headers={"Connection": "close"},
    )


# ---- multipart ---------------------------------------------------------------------------------------------------


class Parts:
    """Receiver of a multipart body: the job file in memory, every attachment in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.attachments: set[str] = set()
        self._header: dict[str, bytes] = {}
        self._field, self._value = bytearray(), bytearray()
        self._job: bytearray | None = None
        self._job_file = f"{JOB_PART}.toml"
        self._target: BinaryIO | bytearray | None = None
        self._count = self._header_bytes = 0

    def upload(self, name: str | None) -> Upload:
        """The upload, once all has come. Raises RequestRefused when there is no job file in it."""
        self.close()
        if self._job is None:
            raise malformed(f"The request has no part named {JOB_PART!r}.", hint="It holds the job file.")
        file_name = f"{name}{Path(self._job_file).suffix}" if name else self._job_file
        return Upload(
            content=bytes(self._job), file_name=file_name, folder=self.folder, attachments=set(self.attachments)
        )

    def close(self) -> None:
        """Close the attachment that is being written."""
        if self._target is not None and not isinstance(self._target, bytearray):
            self._target.close()
        self._target = None

    # The names of these methods are python-multipart's.

    def on_part_begin(self) -> None:
        self._count += 1
        self._header_bytes = 0
        self._header.clear()
        if self._count > MOST_PARTS:
            raise malformed(f"The request has more than {MOST_PARTS} parts.")

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._add_header(self._field, data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._add_header(self._value, data[start:end])

    def _add_header(self, target: bytearray, piece: bytes) -> None:
        self._header_bytes += len(piece)
        if self._header_bytes > MOST_HEADER_BYTES:
            raise malformed("A part's headers are too long.")
        target += piece

    def on_header_end(self) -> None:
        self._header[bytes(self._field).lower().decode("latin-1")] = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._header.get("content-disposition", b""))
        part = options.get(b"name", b"").decode("utf-8", "replace")
        file_name = options.get(b"filename")
        if part == JOB_PART:
            if self._job is not None:
                raise malformed(f"The request has two parts named {JOB_PART!r}.")
            self._job_file = self._name_of_job(file_name)
            self._job = self._target = bytearray()
        elif file_name is None:
            raise malformed(f"The part {printable_name(part)!r} has no file name.", hint="Attachments are files.")
        else:
            self._target = self._new_file(plain(file_name))

    def _name_of_job(self, file_name: bytes | None) -> str:
        """Name of the job file: as sent, where it has an ending that says what it is, else by its media type."""
        kind, _ = parse_options_header(self._header.get("content-type", b""))
        suffix = SUFFIXES.get(kind.decode("latin-1"))
        if not file_name:
            return f"{JOB_PART}{suffix or '.toml'}"
        name = plain(file_name)
        if Path(name).suffix.lower() in SUFFIXES.values():
            return name
        return f"{name}{suffix or '.toml'}"

    def _new_file(self, name: str) -> BinaryIO:
        self.attachments.add(name)
        try:
            file = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise malformed(f"The request has two files named {name!r}.") from None
        return os.fdopen(file, "wb")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if isinstance(self._target, bytearray):
            if len(self._target) + end - start > MAX_FILE_BYTES:
                raise too_large(MAX_FILE_BYTES)
            self._target += data[start:end]
        elif self._target is not None:
            self._target.write(data[start:end])

    def on_part_end(self) -> None:
        self.close()


def plain(file_name: bytes) -> str:
    """A file name of a request, checked to be one. Raises RequestRefused."""
    try:
        return plain_file_name(file_name.decode("utf-8"))
    except ValueError as error:
        shown = printable_name(file_name.decode("utf-8", "replace"))
        raise malformed(f"{shown!r} cannot be the name of a file: {error}.") from None


def malformed(message: str, *, hint: str = "") -> RequestRefused:
    """The answer to a body that is not what it should be."""
    return RequestRefused(400, message, hint=hint, wire_code="malformed-request")


async def receive_parts(request: Request, boundary: bytes, parts: Parts, context: ServeContext) -> None:
    """Pass a multipart body on to its receiver, in a thread. Raises RequestRefused for a malformed one."""
    names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end", "headers_finished")
    callbacks = {f"on_{name}": getattr(parts, f"on_{name}") for name in names}
    try:
        parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        async for chunk in chunks_of(request):
            if chunk:
                await context.in_thread(functools.partial(parser.write, chunk))
        parser.finalize()
    except FormParserError as error:
        raise malformed(f"The request is no valid multipart/form-data: {error}.") from None
    finally:
        parts.close()
