"""Changes in the ledger → server-sent events: one JSON object for each change of a job's state or progress."""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectSendStream
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from registry.jobs.lists import last_job_id, line_counts, open_states, states_after, states_of
from registry.jobs.values import OPEN_STATUSES, JobState, JobStatus
from registry.storage.session import Session
from runner.serve.context import ServeContext
from runner.serve.errors import RequestRefused
from runner.serve.jobs.views import brief, progress

LOOK_S = 0.1
PROGRESS_S = 1.0
REST = 20  # as many times as a look takes is not looked again
UNREAD = 1_000  # events that a slow client may leave unread before it is let go
HEARTBEAT_S = 15.0
MOST_CLIENTS = 50
Event = dict[str, Any]


@dataclass
class JobChanges:
    """States of the jobs that have not ended, as they were last seen."""

    last_id: int | None = None
    states: dict[int, JobStatus] = field(default_factory=dict)
    counts: dict[int, Event] = field(default_factory=dict)
    _counted_s: float = -math.inf

    def look(self, session: Session, *, now_s: float) -> list[Event]:
        """Events since the last look; none at the first."""
        found = _by_id(open_states(session))
        if self.last_id is None:
            self.last_id = last_job_id(session)
            self.states = {job_id: job.status for job_id, job in found.items()}
            return []
        found |= _by_id(states_after(session, self.last_id))
        ended = [job_id for job_id in self.states if job_id not in found]
        found |= _by_id(states_of(session, ended)) if ended else {}
        changed = [job for job_id, job in sorted(found.items()) if self.states.get(job_id) != job.status]
        self.last_id = max((self.last_id, *found))
        self.states = {job_id: job.status for job_id, job in found.items() if job.status in OPEN_STATUSES}
        return [brief(job) for job in changed] + self._progress(session, found.values(), now_s=now_s)

    def _progress(self, session: Session, found: Iterable[JobState], *, now_s: float) -> list[Event]:
        """Progress of running jobs, once a second."""
        if now_s - self._counted_s < PROGRESS_S:
            return []
        self._counted_s = now_s
        running = [job for job in found if job.status == JobStatus.RUNNING]
        counts = {job.id: progress(line_counts(session, job.id)) for job in running}
        events = [
            {**brief(job), "progress": counts[job.id]} for job in running if counts[job.id] != self.counts.get(job.id)
        ]
        self.counts = counts
        return events


def _by_id(states: Iterable[JobState]) -> dict[int, JobState]:
    return {job.id: job for job in states}


@dataclass
class EventFeed:
    """The one who looks for all clients, while there are any."""

    context: ServeContext
    _clients: set[MemoryObjectSendStream[Event]] = field(default_factory=set)
    _came: anyio.Event = field(default_factory=anyio.Event)
    _is_looking: anyio.Event = field(default_factory=anyio.Event)

    def routes(self) -> list[Route]:
        """Paths and methods."""
        return [Route("/api/events", self.listen, methods=["GET"])]

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._came.wait()
            self._came = anyio.Event()
            await self._look_while_wanted()

    async def _look_while_wanted(self) -> None:
        changes = JobChanges()
        async with self.context.watch.waiting() as waiter:
            while self._clients:
                started_s = time.monotonic()
                events = await self.context.read(lambda session: changes.look(session, now_s=time.monotonic()))
                for client in list(self._clients):
                    self._tell(client, events)
                self._is_looking.set()
                await anyio.sleep(max(LOOK_S, REST * (time.monotonic() - started_s)))
                await waiter.change(at_most_s=PROGRESS_S)
        self._is_looking = anyio.Event()

    def _tell(self, client: MemoryObjectSendStream[Event], events: list[Event]) -> None:
        try:
            for event in events:
                client.send_nowait(event)
        except (anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._clients.discard(client)  # it reads too slowly, or has gone
            client.close()

    async def listen(self, _request: Request) -> Response:
        """The stream of events for one client."""
        if len(self._clients) >= MOST_CLIENTS:
            raise RequestRefused(
                503, f"{MOST_CLIENTS} programs listen to events already.", wire_code="too-many-clients"
            )
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._events(), media_type="text/event-stream", headers=headers)

    async def _events(self) -> AsyncIterator[bytes]:
        sending, receiving = anyio.create_memory_object_stream[Event](UNREAD)
        self._clients.add(sending)
        self._came.set()
        try:
            await self._is_looking.wait()  # no change from now on is missed
            yield b": connected\n\n"
            while not self.context.closing.is_set():
                event: Event | None = None
                with anyio.move_on_after(HEARTBEAT_S):
                    try:
                        event = await receiving.receive()
                    except anyio.EndOfStream:
                        return
                yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode() if event else b": alive\n\n"
        finally:
            self._clients.discard(sending)
            sending.close()
            receiving.close()
