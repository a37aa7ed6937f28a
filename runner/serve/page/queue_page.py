"""`/` → the queue: what runs, what waits and for what, what has ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from registry.jobs.lists import jobs_by_status, list_jobs, next_jobs
from registry.jobs.values import OPEN_STATUSES, JobStatus, ListedJob
from registry.storage.session import Session
from runner.outbox.progress_file import UnderWay, is_finishing, lines_under_way, time_left_s
from runner.outbox.waits_file import Wait, waits_of
from runner.serve.jobs.uploads import malformed
from runner.serve.page.site import Site

PAGE = 30
WAITING = ("waiting", "queued")
ENDED = tuple(status for status in JobStatus if status not in OPEN_STATUSES)
TROUBLE = (JobStatus.PARTIAL, JobStatus.FAILED, JobStatus.REJECTED)
SHOWN: Mapping[str, tuple[JobStatus, ...]] = {"all": ENDED, "done": (JobStatus.DONE,), "trouble": TROUBLE}
LARGEST_ID = 1 << 62


@dataclass(frozen=True)
class QueuePage:
    """The page that one sees first."""

    site: Site

    def routes(self) -> list[Route]:
        """Path and method."""
        return [Route("/", self.show, methods=["GET"])]

    async def show(self, request: Request) -> Response:
        """The queue, with one page of the jobs that have ended."""
        shown = request.query_params.get("show", "all")
        if shown not in SHOWN:
            raise malformed(f"show = {shown[:40]!r} is none of {', '.join(SHOWN)}.")
        before = place_before(request)
        now_s = time.time()
        state_dir = self.site.context.instance.state_dir
        under_way = await self.site.context.in_thread(lambda: lines_under_way(state_dir, now_s=now_s))
        waits = await self.site.context.in_thread(lambda: waits_of(self.site.context.instance))

        def ask(session: Session) -> dict[str, Any]:
            running = list_jobs(session, statuses=["running"], limit=PAGE)
            counts = jobs_by_status(session)
            ended = list_jobs(session, statuses=SHOWN[shown], limit=PAGE + 1, before=before)
            return {
                "running": [
                    Running.of(job, under_way, wait=waits.of(job, now_s=now_s), now_s=now_s) for job in running
                ],
                "waiting": [(job, waits.of(job, now_s=now_s)) for job in next_jobs(session, limit=PAGE)],
                "ended": ended[:PAGE],
                "older": ended[PAGE - 1].job.id if len(ended) > PAGE else None,
                "number_running": counts[JobStatus.RUNNING],
                "number_waiting": sum(counts[JobStatus(status)] for status in WAITING),
                "number_ended": {name: sum(counts[status] for status in these) for name, these in SHOWN.items()},
            }

        values = await self.site.context.read(ask)
        return await self.site.page("queue.html", shown=shown, is_first=before == LARGEST_ID, **values)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A job that runs, and how far it is."""

    listed: ListedJob
    ended: int
    share: float  # of its lines, 0 to 1
    left_s: float | None
    is_finishing: bool
    wait: Wait | None

    @classmethod
    def of(cls, listed: ListedJob, under_way: Mapping[int, UnderWay], *, wait: Wait | None, now_s: float) -> Running:
        """From the ledger's counts and the engine's progress."""
        job, lines = listed.job, listed.lines
        ended = lines.published + lines.failed + lines.cancelled
        mine = under_way.get(job.id)
        begun = min(mine.lines, lines.waiting + lines.taken) if mine else 0.0
        return cls(
            listed=listed,
            ended=ended,
            share=(ended + begun) / lines.total if lines.total else 0.0,
            left_s=time_left_s(job, lines, mine, now_s=now_s),
            is_finishing=is_finishing(job, lines),
            wait=wait,
        )


def place_before(request: Request) -> int:
    """Ledger id before which a page of jobs begins. Raises RequestRefused."""
    text = request.query_params.get("before", "")
    if not text:
        return LARGEST_ID
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise malformed(f"before = {text[:40]!r} is not the place of a page.")
    return int(text)
