"""The ledger of a runner at work → one line below its log on a terminal, rewritten in place."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from registry.errors import VoiceJobsError
from registry.jobs.lists import jobs_by_status, list_jobs
from registry.jobs.values import JobStatus
from registry.storage.database import Database
from runner.cli.progress import progress_text
from runner.config.instance import Instance
from runner.outbox.progress_file import NOTHING, lines_under_way
from runner.outbox.waits_file import read_waits
from runner.text_format import short

LOOK_S = 0.5
ERASE = "\r\x1b[K"
WAITING = (JobStatus.QUEUED, JobStatus.WAITING)


class LogAboveLine(logging.StreamHandler[TextIO]):
    """Log on a terminal whose last row is a line that changes."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._shown = ""

    def emit(self, record: logging.LogRecord) -> None:
        if self._shown:
            self.stream.write(ERASE)
        super().emit(record)
        self._draw()

    def show(self, text: str) -> None:
        """Draw this text instead of the last one; "" draws nothing."""
        with self.lock or contextlib.nullcontext(), contextlib.suppress(OSError):  # a terminal that was closed
            if text != self._shown:
                self.stream.write(ERASE)
                self._shown = text
                self._draw()

    def _draw(self) -> None:
        if self._shown:
            room = shutil.get_terminal_size().columns - 1  # a line that wraps cannot be taken back
            self.stream.write(short(self._shown, max(room, 1)))
        self.stream.flush()


@contextlib.contextmanager
def line_below_log(instance: Instance) -> Iterator[logging.Handler | None]:
    """Handler for the log; while it is held, it shows what runs. None where stderr is no terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    log, has_ended = LogAboveLine(sys.stderr), threading.Event()
    thread = threading.Thread(target=_follow, args=(instance, log, has_ended), name="live-line", daemon=True)
    thread.start()
    try:
        yield log
    finally:
        has_ended.set()
        thread.join()
        log.show("")


def _follow(instance: Instance, log: LogAboveLine, has_ended: threading.Event) -> None:
    """Show what runs until it has ended. What is wrong with a registry is the runner's to say."""
    while not has_ended.wait(LOOK_S):
        if not instance.database_path.exists():
            continue
        with (
            contextlib.suppress(VoiceJobsError, OSError),
            Database.open(instance.database_path, root=instance.root) as database,
        ):
            while not has_ended.wait(LOOK_S):
                log.show(_running_text(instance, database, now_s=time.time()))
        log.show("")


def _running_text(instance: Instance, database: Database, *, now_s: float) -> str:
    """`scene: [###...] 12/40 lines, 3 min left; 2 more running, 5 waiting`; "" when nothing runs."""
    with database.read() as snapshot:
        running = list_jobs(snapshot, statuses=[JobStatus.RUNNING], limit=1)
        counts = jobs_by_status(snapshot)
    if not running:
        return ""
    first = running[0]
    under_way = lines_under_way(instance.state_dir, now_s=now_s).get(first.job.id, NOTHING)
    wait = read_waits(instance.state_dir).of(first, now_s=now_s)
    more, waiting = counts[JobStatus.RUNNING] - 1, sum(counts[status] for status in WAITING)
    others = [text for number, text in ((more, f"{more} more running"), (waiting, f"{waiting} waiting")) if number]
    return "; ".join(filter(None, (progress_text(first, under_way, wait, now_s=now_s), ", ".join(others))))
