"""Templates and values → answers with HTML: escaped, bounded, and under one content policy; and the static files.

Touches the disk when it is made.
"""

from __future__ import annotations

import hashlib
import hmac
import mimetypes
import secrets
import shlex
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from registry.errors import NotFound
from registry.jobs.values import Job
from runner.config.printed_commands import flags_for_logs, with_flags
from runner.outbox.receipt import iso
from runner.redaction import redact
from runner.serve.context import ServeContext
from runner.serve.jobs.dropping import drop_once
from runner.submission.drop_writer import job_from_values
from runner.text_format import ago, counted, printable, short, size, span, when

FOLDER = Path(__file__).parent
POLICY = (
    "default-src 'self'; media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
A_YEAR_S = 31_536_000
LONGEST_SHOWN = 20_000  # characters of any one value


class Site:
    """Everything that all pages have in common."""

    def __init__(self, context: ServeContext) -> None:
        self.context = context
        self.token = hmac.new(secrets.token_bytes(32), b"forms", hashlib.sha256).hexdigest()
        self._flags = flags_for_logs(context.instance.root)
        self._files = {path.name: path.read_bytes() for path in (FOLDER / "static").iterdir() if path.is_file()}
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(
            ago=lambda at_s: ago(at_s, now_s=time.time()),
            clock=_clock,
            command=self.command,
            counted=counted,
            hint=self._hint,
            iso=iso,
            part=lambda text: quote(str(text), safe=""),
            redact=redact,
            shell=lambda text: shlex.quote(str(text)),
            short=short,
            size=size,
            span=span,
            when=when,
        )
        self._templates.globals.update(static=self._static_path, token=self.token)

    def routes(self) -> list[Route]:
        """Path of the static files."""
        return [Route("/static/{name}", self.static, methods=["GET"])]

    async def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """A template with its values as an answer."""
        is_active = await self.context.runner_is_active()
        content = await self.context.in_thread(
            lambda: self._templates.get_template(template).render(runner_is_active=is_active, **values)
        )
        headers = {
            "Content-Security-Policy": POLICY,
            "Cache-Control": "no-store",
            "Referrer-Policy": "same-origin",  # with none at all, browsers send the forms of a page as from nowhere
        }
        return Response(content.encode("utf-8", "replace"), status, headers, "text/html; charset=utf-8")

    async def static(self, request: Request) -> Response:
        """The stylesheet, the script or the icon; kept by browsers as long as its content stays."""
        name = request.path_params["name"]
        if name not in self._files:
            raise NotFound(f"There is no file {name[:80]!r}.")
        is_this = request.query_params.get("v") == self._version(name)
        headers = {"Cache-Control": f"public, max-age={A_YEAR_S}, immutable" if is_this else "no-cache"}
        return Response(self._files[name], headers=headers, media_type=mimetypes.guess_type(name)[0])

    async def drop(self, values: dict[str, Any], *, name: str) -> Job:
        """The job that these values of a job file become. Raises RequestRefused, …"""
        await self.context.require_runner()
        job = await self.context.in_thread(lambda: job_from_values(values, name=name))
        return (await drop_once(self.context, job, name=job.file_name)).job

    def command(self, text: str) -> str:
        """A command line of ours as it is typed to reach this instance."""
        return with_flags(f"`{text}`", self._flags).strip("`")

    def _hint(self, text: str) -> Markup:
        """A hint whose commands, between backticks, reach this instance and are set as code."""
        parts = with_flags(printable(text[:LONGEST_SHOWN]), self._flags).split("`")
        return Markup("").join(
            Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts)
        )

    def _static_path(self, name: str) -> str:
        return f"/static/{name}?v={self._version(name)}"

    def _version(self, name: str) -> str:
        return hashlib.sha256(self._files[name]).hexdigest()[:12]


def path_of(job: Job) -> str:
    """Path of a job's page."""
    return f"/jobs/{quote(job.name, safe='')}"


def to(path: str) -> Response:
    """The answer that sends a browser from a form to a page of ours."""
    return RedirectResponse(path, 303)


def _shown(value: Any) -> Any:
    """A value as a page may show it: without what would change the direction of its text, and of bounded length."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return ""
    text = str(value)
    return printable(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…")


def _clock(span_s: float | None) -> str:
    """`1:05` or `2:03:09`; of less than ten seconds, one decimal."""
    if span_s is None:
        return ""
    if span_s < 10:
        return f"{span_s:.1f} s"
    minutes, seconds = divmod(round(span_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
