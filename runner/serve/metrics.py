"""`/metrics`: the ledger, the inbox and the disk → figures in Prometheus' text format; no name of a job, voice or text.

Everything is counted when it is asked for, a few times a minute at most. Touches the disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from registry.jobs.hook_deliveries import notices_by_state
from registry.jobs.lists import attempts_by_outcome, jobs_by_status, lines_by_status, oldest_queued_s
from registry.storage.session import Session
from registry.voices.lookup import number_of_versions
from runner.serve.context import ServeContext

KEPT_S = 5.0  # however often it is asked for
TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class MetricsApi:
    """The answer to a collector of metrics."""

    context: ServeContext
    _made: tuple[float, bytes] | None = None

    def routes(self) -> list[Route]:
        """Paths and methods."""
        return [Route("/metrics", self.show, methods=["GET"])]

    async def show(self, _request: Request) -> Response:
        """All figures."""
        if self._made is None or time.monotonic() - self._made[0] > KEPT_S:
            is_active = await self.context.runner_is_active()
            content = await self.context.read(lambda session: self._text(session, is_active=is_active))
            self._made = (time.monotonic(), content)
        return Response(self._made[1], media_type=TYPE)

    def _text(self, session: Session, *, is_active: bool) -> bytes:
        from prometheus_client import CollectorRegistry, Gauge, generate_latest

        registry = CollectorRegistry()

        def gauge(name: str, help_text: str, value: float) -> None:
            Gauge(f"voicejobs_{name}", help_text, registry=registry).set(value)

        def by_state(name: str, help_text: str, figures: Mapping[Any, int], *, label: str = "state") -> None:
            made = Gauge(f"voicejobs_{name}", help_text, [label], registry=registry)
            for state, value in figures.items():
                made.labels(str(state)).set(value)

        by_state("jobs", "Jobs of the ledger by state.", jobs_by_status(session))
        by_state("lines", "Lines of the ledger's jobs by state.", lines_by_status(session))
        said = "Renderings of lines by outcome; engine-lost: the engine died over them."
        by_state("attempts", said, attempts_by_outcome(session), label="outcome")
        by_state("hook_notices", "Notices to receivers by state.", notices_by_state(session))
        oldest_s = oldest_queued_s(session)
        age_s = 0.0 if oldest_s is None else max(0.0, time.time() - oldest_s)
        gauge("oldest_ready_seconds", "Age of the oldest job that could start.", age_s)
        takes, takes_bytes = self.context.takes.totals(session)
        gauge("takes", "Takes in the store.", takes)
        gauge("takes_bytes", "Size of the takes in the store.", takes_bytes)
        spoken_s, render_s = self.context.takes.durations_s(session)
        gauge("takes_audio_seconds", "Speech in the takes of the store.", spoken_s)
        gauge("takes_render_seconds", "Time that engines took for these takes.", render_s)
        gauge("voice_versions", "Versions of voices that were not removed.", number_of_versions(session))
        gauge("runner_active", "1 while a runner is active.", float(is_active))
        for name, help_text, value in self._of_the_disk():
            gauge(name, help_text, value)
        return generate_latest(registry)

    def _of_the_disk(self) -> Iterator[tuple[str, str, float]]:
        instance = self.context.instance
        with contextlib.suppress(OSError):  # a disk that is not there has no figures
            waiting = [name for name in os.listdir(instance.inbox) if not name.startswith(".")]  # noqa: PTH208
            yield "inbox_files", "Entries of the inbox.", len(waiting)
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(instance.state_dir).free
            yield "disk_free_bytes", "Free space on the disk of the state folder.", free
