"""`/jobs/JOB` → one job: its lines with their sound, its files, and what can be done with it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from registry.errors import NotFound
from registry.jobs import lines
from registry.jobs.children import children_of
from registry.jobs.jobs import by_name
from registry.jobs.lists import flagged_lines, lines_after, listed, track_before_s
from registry.jobs.requests import add_request
from registry.jobs.values import CANCEL, OPEN_STATUSES, RETRY, RETRYABLE_STATUSES, Job, Line
from registry.storage.session import Session
from runner.outbox.outbox import RECEIPT, job_file_name
from runner.outbox.progress_file import lines_under_way
from runner.outbox.receipt import line_entry
from runner.outbox.waits_file import waits_of
from runner.serve.errors import RequestRefused
from runner.serve.jobs.files import file_start, script_files
from runner.serve.page.forms import form_of
from runner.serve.page.lines_again import changed_values
from runner.serve.page.peaks import Picture, Pictures
from runner.serve.page.queue_page import Running
from runner.serve.page.site import Site, path_of, to

PAGE = 50
SHOWN_CHILDREN = 500  # of a script: its voices, chapters and finished book
JOB_FILE_SHOWN_BYTES = 20_000
PICTURES_KEPT_S = 86_400
LARGEST_SEED = 1 << 31


@dataclass(frozen=True)
class JobPage:
    """The page of one job."""

    site: Site
    pictures: Pictures

    def routes(self) -> list[Route]:
        """Paths and methods."""
        job = "/jobs/{job}"
        return [
            Route(job, self.show, methods=["GET"]),
            Route(f"{job}/cancel", self.cancel, methods=["POST"]),
            Route(f"{job}/retry", self.retry, methods=["POST"]),
            Route(f"{job}/again", self.again, methods=["POST"]),
            Route(f"{job}/peaks/{{position:int}}", self.peaks, methods=["GET"]),
        ]

    async def show(self, request: Request) -> Response:
        """One page of the job's lines, with all else about it."""
        name, context = request.path_params["job"], self.site.context
        after = _place(request)
        flagged = request.query_params.get("only") == "flagged"
        now_s = time.time()
        under_way = await context.in_thread(lambda: lines_under_way(context.instance.state_dir, now_s=now_s))
        waits = await context.in_thread(lambda: waits_of(context.instance))

        def ask(session: Session) -> dict[str, Any]:
            job = by_name(session, name)
            page = lines_after(session, job.id, after=after, limit=PAGE + 1, flagged=flagged)
            shown = page[:PAGE]
            follows = shown and job.facts.get("track") and all(line.request.start_s is None for line in shown)
            start_s = track_before_s(session, job.id, shown[0].position) if follows else None
            found = listed(session, [job])[0]
            return {
                "job": job,
                "progress": Running.of(found, under_way, wait=waits.of(found, now_s=now_s), now_s=now_s),
                "lines": shown_lines(shown, start_s=None if flagged else start_s),
                "next": shown[-1].position if len(page) > PAGE else None,
                "number_flagged": flagged_lines(session, job.id),
                "children": [child for _, child in children_of(session, job.id)[:SHOWN_CHILDREN]],
            }

        values = await context.read(ask)
        job = values["job"]
        if job.name != name:
            return to(path_of(job))
        job_file, is_whole = await self._job_file(job)
        return await self.site.page(
            "job.html",
            **values,
            after=after,
            flagged=flagged,
            job_file=job_file,
            job_file_is_whole=is_whole,
            job_file_name=job_file_name(job.facts["job_file"]) if job.facts.get("job_file") else None,
            receipt_name=RECEIPT,
            script_files=await context.in_thread(lambda: script_files(context, job)),
            is_open=job.status in OPEN_STATUSES,
            is_retryable=job.status in RETRYABLE_STATUSES,
        )

    async def _job_file(self, job: Job) -> tuple[str | None, bool]:
        """The beginning of the job file as it was dropped, and whether that is all of it; None when it is gone."""
        if not job.facts.get("job_file"):
            return None, True
        name, context = job_file_name(job.facts["job_file"]), self.site.context
        try:
            content = await context.in_thread(
                lambda: file_start(context, job.name, name, limit_bytes=JOB_FILE_SHOWN_BYTES + 1)
            )
        except NotFound:
            return None, True
        text = content[:JOB_FILE_SHOWN_BYTES].decode("utf-8", "replace")
        return text, len(content) <= JOB_FILE_SHOWN_BYTES

    async def peaks(self, request: Request) -> Response:
        """The waveform of a line, as numbers from 0 to 100."""
        name, position = request.path_params["job"], request.path_params["position"]

        def ask(session: Session) -> str:
            line = lines.at(session, by_name(session, name).id, position)
            if line is None or line.result is None:
                raise NotFound(f"The job {name!r} has no line {position} with a take.")
            return str(line.result["audio_sha256"])

        sha256 = await self.site.context.read(ask)
        return picture_answer(await self.pictures.of(self.site.context.takes.audio, sha256))

    # ---- changing ------------------------------------------------------------------------------------------------

    async def cancel(self, request: Request) -> Response:
        """The job again, once the runner has been asked to cancel it."""
        return await self._ask(request, CANCEL)

    async def retry(self, request: Request) -> Response:
        """The job again, once the runner has been asked to try it again."""
        await self.site.context.require_runner()
        return await self._ask(request, RETRY)

    async def _ask(self, request: Request, wanted: str) -> Response:
        form, name = await form_of(request, self.site), request.path_params["job"]
        job = await self.site.context.request(lambda session: add_request(session, name, wanted, now_s=time.time()))
        return to("/" if form["from"] == "queue" else path_of(job))

    async def again(self, request: Request) -> Response:
        """The new job that a changed line makes: with another seed, or with another text."""
        form, name, context = await form_of(request, self.site), request.path_params["job"], self.site.context
        position = form.whole("line") or 0
        values, stem = await context.read(lambda session: _changed(session, name, position, form.text("text")))
        job = await self.site.drop(values, name=stem)
        return to(f"{path_of(job)}#line-{position}")


def _changed(session: Session, name: str, position: int, text: str) -> tuple[dict[str, Any], str]:
    """The job with one line changed: its text, or its seed where the text is as it was; and the name to drop it by."""
    job = by_name(session, name)
    line = lines.at(session, job.id, position)
    if line is None or job.kind != "synthesize":
        raise RequestRefused(404, f"The job {name!r} speaks no line {position}.", wire_code="not_found")
    all_lines = list(lines.of_job(session, job.id))
    return changed_values(
        job, all_lines, position=position, text=text, seed=int(time.time_ns() % LARGEST_SEED)
    ), job.name


def shown_lines(found: list[Line], *, start_s: float | None) -> list[dict[str, Any]]:
    """Lines as in a receipt, with what a page needs besides; `start_s` is where the first begins in the track."""
    shown = []
    for line in found:
        entry = line_entry(line)
        is_heard = entry["status"] == "done"
        shown.append(
            {
                **entry,
                "instruct": line.request.instruct,
                "source": line.request.voice,
                "is_pause": line.request.is_pause,
                "start_s": start_s if is_heard else None,
            }
        )
        if start_s is not None and is_heard:
            pause_s = 0.0 if line.request.is_pause else line.request.pause_after_s
            start_s += (entry["duration_s"] or 0.0) + pause_s
    return shown


def picture_answer(picture: Picture) -> Response:
    """Peaks for the script that draws them."""
    headers = {"Cache-Control": f"private, max-age={PICTURES_KEPT_S}"}
    return JSONResponse({"peaks": picture.peaks, "duration_s": round(picture.duration_s, 3)}, headers=headers)


def _place(request: Request) -> int:
    text = request.query_params.get("after", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
