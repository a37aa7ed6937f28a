"""`/drop` → texts, files and recordings become a job file, which is shown, checked and changed before it is dropped.

Files wait in a folder of their own until then. Touches the disk.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from registry.errors import NotFound
from runner.jobfile.specs import DEFAULT_CANDIDATE_TEXT
from runner.jobfile.syntax import MAX_FILE_BYTES
from runner.names import job_name_from
from runner.serve.errors import RequestRefused, plain_error, status_of
from runner.serve.jobs.dropping import checked_upload, drop_once, require_accepted
from runner.serve.jobs.uploads import Upload, too_large
from runner.serve.page.forms import Form, form_of, form_with_files, remove
from runner.serve.page.job_files import JOB_FILES, toml_of, values_of
from runner.serve.page.site import Site, path_of, to
from runner.serve.voice_list import listed_voices

SUGGESTED = 200
MOST_STAGED = 30


@dataclass
class DropPage:
    """Pages on which jobs are made."""

    site: Site
    _staged: OrderedDict[str, Upload] = field(default_factory=OrderedDict)

    def routes(self) -> list[Route]:
        """Paths and methods."""
        staged = "/drop/{key}"
        return [
            Route("/drop", self.show, methods=["GET"]),
            Route("/drop", self.stage, methods=["POST"]),
            Route(staged, self.review, methods=["GET"]),
            Route(staged, self.drop, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """The forms."""
        context = self.site.context
        found = await context.read(lambda session: listed_voices(session, context.instance))
        names = [voice.id for voice in found if voice.id not in context.settings.voices][:SUGGESTED]
        voice = request.query_params.get("voice", "")[:200]
        return await self.site.page("drop.html", voices=names, voice=voice, sentence=DEFAULT_CANDIDATE_TEXT)

    async def stage(self, request: Request) -> Response:
        """The way to the job file that a form makes."""
        form = await form_with_files(request, self.site)
        try:
            upload = await self.site.context.in_thread(lambda: _upload(form))
        except BaseException:
            remove(form.folder)
            raise
        key = secrets.token_hex(16)
        self._staged[key] = upload
        if len(self._staged) > MOST_STAGED:
            _, oldest = self._staged.popitem(last=False)
            await self.site.context.in_thread(lambda: remove(oldest.folder))
        return to(f"/drop/{key}")

    async def review(self, request: Request) -> Response:
        """The job file, and what `voicejobs check` says of it."""
        return await self._review(request.path_params["key"])

    async def drop(self, request: Request) -> Response:
        """The job that the file becomes; or the file again, where it was only to be checked, or is refused."""
        form, key = await form_of(request, self.site), request.path_params["key"]
        upload = self._known(key)
        upload.content = form.text("job").encode("utf-8", "replace")
        upload.file_name = f"{job_name_from(form['name'] or 'job')}{Path(upload.file_name).suffix}"
        if len(upload.content) > MAX_FILE_BYTES:
            raise too_large(MAX_FILE_BYTES)
        if form["action"] != "drop":
            return await self._review(key)
        context = self.site.context
        try:
            await context.require_runner()
            job, _ = await context.in_thread(lambda: checked_upload(upload))
            dropped = await drop_once(context, job, name=upload.file_name)
            if dropped.is_new:
                require_accepted(dropped.job)
        except RequestRefused as error:
            return await self._review(key, refused=error)
        self._staged.pop(key, None)
        await context.in_thread(lambda: remove(upload.folder))
        return to(path_of(dropped.job))

    async def _review(self, key: str, *, refused: RequestRefused | None = None) -> Response:
        upload = self._known(key)
        warnings: list[str] = []
        if refused is None:
            try:
                _, warnings = await self.site.context.in_thread(lambda: checked_upload(upload))
            except RequestRefused as error:
                refused = error
        return await self.site.page(
            "review.html",
            status=status_of(refused) if refused else 200,
            key=key,
            job_file=upload.content.decode("utf-8", "replace"),
            suffix=Path(upload.file_name).suffix,
            name=Path(upload.file_name).stem,
            attachments=sorted(upload.attachments),
            warnings=warnings,
            error=plain_error(refused) if refused else None,
        )

    def _known(self, key: str) -> Upload:
        if key not in self._staged:
            raise NotFound(
                "This job file is no longer here.", hint="It was dropped already, or the server was started again."
            )
        return self._staged[key]


def _upload(form: Form) -> Upload:
    """The job file of a form with its attachments: one that was sent, or one that its fields make."""
    assert form.folder is not None
    kind, files = form["kind"], form.files
    sent = next((name for name in files if Path(name).suffix.lower() in JOB_FILES), None)
    if kind == "file" and sent is not None:
        path = form.folder / sent
        if path.stat().st_size > MAX_FILE_BYTES:
            raise too_large(MAX_FILE_BYTES)
        content = path.read_bytes()
        path.unlink()
        attachments = {name for name in files if name != sent}
        return Upload(content=content, file_name=sent, folder=form.folder, attachments=attachments)
    fields = {name: form.text(name) for name in form.fields}
    values = values_of(kind, fields, files)
    stem = Path(files[0]).stem if files and kind == "file" else fields.get("voice", "").partition("@")[0]
    name = {"design": f"{stem}-design", "text": f"{stem.removeprefix('preset:')}-says", "recording": f"{stem}-lock"}
    file_name = f"{job_name_from(name.get(kind, stem))}.toml"
    return Upload(
        content=toml_of(values).encode("utf-8", "replace"),
        file_name=file_name,
        folder=form.folder,
        attachments=set(files),
    )
