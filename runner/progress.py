"""A job's state → one line on a terminal, rewritten in place; and the time its lines will still take."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from registry.job_values import RUNNING, Job, JobSummary, LineCounts
from runner.console import span

REDRAW_S = 0.1
WIDTH = 24


class ProgressLine:
    """Draws on stderr while it is entered; silent unless enabled."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._drawn_s = 0.0
        self._shown = ""

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def update(self, job: Job, lines: LineCounts) -> None:
        """Show how far the job is."""
        now_s = time.monotonic()
        text = progress_text(job, lines, now_s=time.time())
        if not self._enabled or text == self._shown or now_s - self._drawn_s < REDRAW_S:
            return
        self._drawn_s, self._shown = now_s, text
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def progress_text(job: Job, lines: LineCounts, *, now_s: float) -> str:
    """`scene: [#####     ] 12/40 lines, 3 min left`"""
    if job.status != RUNNING or lines.total == 0:
        return f"{job.name}: {job.status}"
    ended = lines.published + lines.failed + lines.cancelled
    filled = WIDTH * ended // lines.total
    bar = "#" * filled + " " * (WIDTH - filled)
    left_s = time_left_s(job, lines, now_s=now_s)
    left = f", {span(left_s)} left" if left_s is not None else ""
    return f"{job.name}: [{bar}] {ended}/{lines.total} lines{left}"


def time_left_s(job: Job | JobSummary, lines: LineCounts, *, now_s: float) -> float | None:
    """What the rest of a running job will take at the pace so far; None while there is no pace."""
    ended = lines.published + lines.failed
    if job.status != RUNNING or job.started_s is None or not ended:
        return None
    return (now_s - job.started_s) / ended * (lines.waiting + lines.taken)
