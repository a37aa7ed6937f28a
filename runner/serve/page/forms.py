"""The body of a form → its fields and files, once its token has been checked. Forms of other pages are refused."""

from __future__ import annotations

import contextlib
import hmac
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from runner.jobfile.syntax import MAX_FILE_BYTES
from runner.serve.errors import RequestRefused
from runner.serve.jobs.uploads import Parts, malformed, new_folder, plain, read_body, receive_parts
from runner.serve.page.site import Site

TOKEN = "token"
MOST_FIELDS = 100
URL_ENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"


@dataclass(kw_only=True)
class Form:
    """Fields of a form by name, and its files by name in a folder of their own."""

    fields: Mapping[str, str]
    folder: Path | None = None
    files: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> str:
        return self.fields.get(name, "").strip()

    def text(self, name: str) -> str:
        """A text of several lines, with the line ends that files have."""
        return self.fields.get(name, "").replace("\r\n", "\n")

    def whole(self, name: str) -> int | None:
        """A whole number from 0; None where there is none. Raises RequestRefused for anything else."""
        text = self[name]
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise malformed(f"{name} = {text[:40]!r} is not a whole number.")
        return int(text)


async def form_of(request: Request, site: Site) -> Form:
    """The fields of a form of ours. Raises RequestRefused."""
    _require_kind(request, URL_ENCODED)
    body = await read_body(request, limit_bytes=4 * MAX_FILE_BYTES)  # as %XX, a byte takes three
    try:
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"))
    except ValueError:
        raise malformed("The form cannot be read.") from None
    return _checked(Form(fields=fields), site)


async def form_with_files(request: Request, site: Site) -> Form:
    """The fields of a form, and its files in a new folder, which belongs to the caller. Raises RequestRefused."""
    options = _require_kind(request, MULTIPART)
    folder = await site.context.in_thread(lambda: new_folder(site.context.instance.state_dir))
    parts = FormParts(folder)
    try:
        await receive_parts(request, options.get(b"boundary", b""), parts, site.context)
        form = Form(fields=parts.fields(), folder=folder, files=sorted(parts.attachments))
        return _checked(form, site)
    except BaseException:
        remove(folder)
        raise


def remove(folder: Path | None) -> None:
    """Remove the files of a form."""
    if folder is not None:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)


class FormParts(Parts):
    """Receiver of a form: every field in memory, every file in the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._fields: dict[str, bytearray] = {}

    def fields(self) -> dict[str, str]:
        """The fields as text. Raises RequestRefused for bytes that are none."""
        try:
            return {name: value.decode() for name, value in self._fields.items()}
        except UnicodeDecodeError:
            raise malformed("The form is not in UTF-8.") from None

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._header.get("content-disposition", b""))
        name, file_name = options.get(b"name", b"").decode("utf-8", "replace"), options.get(b"filename")
        if file_name is None:
            self._target = self._fields.setdefault(name, bytearray())
        elif file_name:
            self._target = self._new_file(plain(file_name))
        else:
            self._target = None  # a field for a file that was left empty


def _require_kind(request: Request, wanted: str) -> dict[bytes, bytes]:
    kind, options = parse_options_header(request.headers.get("content-type", "").encode())
    if kind.decode("latin-1") != wanted:
        raise RequestRefused(415, f"This form is sent as {wanted}.", wire_code="unsupported-media-type")
    return options


def _checked(form: Form, site: Site) -> Form:
    if not hmac.compare_digest(form[TOKEN].encode(), site.token.encode()):
        raise RequestRefused(
            403,
            "This form was not made by the server that is running now.",
            hint="The server was started again since. Go back, load the page again, and send the form once more.",
            wire_code="form-token",
        )
    return form
