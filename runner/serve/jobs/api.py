"""`/api/jobs` → jobs dropped, listed, shown, cancelled and tried again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from registry.jobs.lists import list_jobs
from registry.jobs.requests import add_request
from registry.jobs.values import CANCEL, RETRY, Job, JobStatus
from runner.names import plain_file_name
from runner.serve.context import ServeContext
from runner.serve.jobs.dropping import Dropped, checked_upload, drop_once, id_for, require_accepted
from runner.serve.jobs.files import file_answer
from runner.serve.jobs.uploads import malformed, received
from runner.serve.jobs.views import brief, job_body, listed_job
from runner.submission.checked_job import with_id

PAGE, LARGEST_PAGE = 50, 500
LARGEST_ID = 1 << 62
LONGEST_KEY = 255


@dataclass(frozen=True)
class JobsApi:
    """The answers about jobs."""

    context: ServeContext

    def routes(self) -> list[Route]:
        """Paths and methods."""
        job = "/api/jobs/{job}"
        return [
            Route("/api/jobs", self.list, methods=["GET"]),
            Route("/api/jobs", self.add, methods=["POST"]),
            Route(job, self.show, methods=["GET"]),
            Route(job, self.cancel, methods=["DELETE"]),
            Route(f"{job}/retry", self.retry, methods=["POST"]),
            Route(f"{job}/files/{{name}}", self.file, methods=["GET"]),
        ]

    # ---- reading -------------------------------------------------------------------------------------------------

    async def list(self, request: Request) -> Response:
        """One page of jobs, newest first; `next` is the `after` of the next page."""
        query = request.query_params
        limit = _whole(query, "limit", PAGE, most=LARGEST_PAGE)
        before = _whole(query, "after", LARGEST_ID, most=LARGEST_ID)
        statuses = query.getlist("status")
        if wrong := [status for status in statuses if status not in list(JobStatus)]:
            raise malformed(f"status = {wrong[0]!r} is no state of a job.", hint=f"Choose {', '.join(JobStatus)}.")
        found = await self.context.read(
            lambda session: list_jobs(session, statuses=statuses, limit=limit + 1, before=before)
        )
        page = found[:limit]
        after = str(page[-1].job.id) if len(found) > limit else None
        return JSONResponse({"jobs": [listed_job(each) for each in page], "next": after})

    async def show(self, request: Request) -> Response:
        """The receipt of a job, or its state."""
        name = request.path_params["job"]
        body = await self.context.read(lambda session: job_body(session, name))
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    async def file(self, request: Request) -> Response:
        """A file of a job."""
        job, name = request.path_params["job"], request.path_params["name"]
        return await file_answer(request, self.context, job=job, name=name)

    # ---- changing ------------------------------------------------------------------------------------------------

    async def add(self, request: Request) -> Response:
        """The job that an upload becomes, once the runner has claimed it."""
        await self.context.require_runner()
        async with received(request, self.context, name=_name_in(request)) as upload:
            job, warnings = await self.context.in_thread(lambda: checked_upload(upload))
            if job.spec.id is None and (key := _key_in(request)) is not None:
                job = await self.context.in_thread(lambda: with_id(job, id_for(key)))
            dropped = await drop_once(self.context, job, name=upload.file_name)
        return _dropped_answer(dropped, warnings)

    async def cancel(self, request: Request) -> Response:
        """The job, once the runner has been asked to cancel it."""
        return await self._ask(request, CANCEL)

    async def retry(self, request: Request) -> Response:
        """The job, once the runner has been asked to try it again."""
        await self.context.require_runner()
        return await self._ask(request, RETRY)

    async def _ask(self, request: Request, wanted: str) -> Response:
        name = request.path_params["job"]
        job = await self.context.request(lambda session: add_request(session, name, wanted, now_s=time.time()))
        return _job_answer(job, 202)


def _whole(query: Mapping[str, str], key: str, default: int, *, most: int) -> int:
    text = query.get(key, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= most):
        raise malformed(f"{key} = {text[:40]!r} is not a whole number from 1 to {most}.")
    return int(text)


def _name_in(request: Request) -> str | None:
    name = request.query_params.get("name")
    if name is None:
        return None
    try:
        return plain_file_name(name)
    except ValueError as error:
        raise malformed(f"name = {name[:80]!r} cannot be the name of a job: {error}.") from None


def _key_in(request: Request) -> str | None:
    """The header `Idempotency-Key`, with or without the quotes that its draft standard asks for."""
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key.strip('" ')) <= LONGEST_KEY:
        raise malformed(f"Idempotency-Key must have 1 to {LONGEST_KEY} characters.")
    return None if key is None else key.strip('" ')


def _dropped_answer(dropped: Dropped, warnings: list[str]) -> Response:
    job = dropped.job
    if not dropped.is_new:
        return _job_answer(job, 200)
    require_accepted(job)
    return _job_answer(job, 202, warnings=warnings)


def _job_answer(job: Job, status: int, **more: Any) -> Response:
    body = {**brief(job), **more}
    return JSONResponse(body, status, headers={"Location": f"/api/jobs/{quote(job.name)}"} if status == 202 else None)
