"""A job's state → one line on a terminal, rewritten in place."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING

from registry.jobs.values import JobStatus, ListedJob
from runner.cli.console import NO_RUNNER, say
from runner.exit_codes import OK
from runner.outbox.progress_file import NOTHING, is_finishing, time_left_s
from runner.outbox.waits_file import DISK, MEMORY, MOUNT, NETWORK
from runner.text_format import counted, short, span

if TYPE_CHECKING:
    from runner.cli.submit import Finished
    from runner.config.instance import Instance
    from runner.outbox.progress_file import UnderWay
    from runner.outbox.waits_file import Wait
    from runner.submission.checked_job import JobOnDisk
    from runner.submission.drop_writer import Submitted

REDRAW_S = 0.1
WIDTH = 24
FINISHING = "finishing"
TOLD = (NETWORK, DISK, MOUNT, MEMORY)  # waits that do not end with other jobs


class ProgressLine:
    """Line on stderr that shows progress within a `with`; where it is not enabled, only what a person must see to."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._drawn_s = 0.0
        self._shown = self._told = ""
        self.listed: ListedJob | None = None  # the job as last seen

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def update(self, listed: ListedJob, under_way: UnderWay = NOTHING, wait: Wait | None = None) -> None:
        """Draw the job's progress."""
        self.listed = listed
        now_s = time.monotonic()
        text = progress_text(listed, under_way, wait, now_s=time.time())
        if not self._enabled and wait is not None and wait.what in TOLD and text != self._told:
            self._told = text
            say(text)
        if not self._enabled or text == self._shown or now_s - self._drawn_s < REDRAW_S:
            return
        self._drawn_s, self._shown = now_s, text
        room = shutil.get_terminal_size().columns - 1  # a line that wraps cannot be taken back
        sys.stderr.write(f"\r\x1b[K{short(text, max(room, 1))}")
        sys.stderr.flush()


def wait_with_progress(instance: Instance, submitted: Submitted) -> Finished:
    """Wait for a job as `wait_for` does, drawing its progress where stderr is a terminal."""
    from runner.cli.submit import wait_for

    line = ProgressLine(enabled=sys.stderr.isatty())
    try:
        with line:
            return wait_for(instance, submitted, on_progress=line.update)
    except KeyboardInterrupt:
        is_active = instance.runner_is_active()
        said = _not_claimed(submitted, is_active) if line.listed is None else _interrupted(line.listed, is_active)
        say(said)
        raise KeyboardInterrupt("said") from None


def end_text(finished: Finished) -> str:
    """`scene: done, 1 warning`, its warnings and its error, a line each."""
    warnings = finished.receipt["warnings"]
    said = f", {counted(len(warnings), 'warning')}" if warnings else ""
    text = "\n  ".join((f"{finished.job}: {finished.status}{said}", *warnings))
    return f"{text}\n{finished.error_text}" if finished.error_text else text


def drop_version(instance: Instance, job: JobOnDisk, *, wait: bool) -> int:
    """Drop a job that makes a version of a voice; say where it is or, having waited, the version. An exit code."""
    from runner.submission.drop_writer import submit_job

    submitted = submit_job(instance, job)
    if not wait:
        say(f"dropped {submitted.path}")
        if not instance.runner_is_active():
            say(NO_RUNNER)
        return OK
    finished = wait_with_progress(instance, submitted)
    if finished.exit_code or finished.receipt["warnings"]:
        say(end_text(finished))
    if finished.exit_code == OK:
        made = finished.receipt["voice"]
        say(f"{made['name']}@{made['version']}")
    return finished.exit_code


def _not_claimed(submitted: Submitted, is_active: bool) -> str:
    """`Interrupted. The drop inbox/scene.toml is kept: …`"""
    how = "the active runner takes it" if is_active else "`voicejobs run` takes it"
    return f"Interrupted. The drop {submitted.path} is kept: {how}, unless you delete it first."


def _interrupted(listed: ListedJob, is_active: bool) -> str:
    """`Interrupted. scene is kept (12 of 40 lines done): …`"""
    job, lines = listed.job, listed.lines
    done = f" ({lines.published} of {counted(lines.total, 'line')} done)" if lines.total else ""
    how = "the active runner goes on with it" if is_active else "`voicejobs run` continues it"
    return f"Interrupted. {job.name} is kept{done}: {how}, `voicejobs jobs cancel {job.name}` stops it."


def progress_text(listed: ListedJob, under_way: UnderWay = NOTHING, wait: Wait | None = None, *, now_s: float) -> str:
    """`scene: [#####.....] 12/40 lines, 3 min left`; or for what it waits."""
    job, lines = listed.job, listed.lines
    if wait is not None:
        return f"{job.name}: {wait.text}"
    if job.status != JobStatus.RUNNING or lines.total == 0:
        return f"{job.name}: {job.status}"
    ended = lines.published + lines.failed + lines.cancelled
    begun = min(under_way.lines, lines.waiting + lines.taken)
    filled = int(WIDTH * (ended + begun) / lines.total)
    bar = "#" * filled + "." * (WIDTH - filled)
    left_s = time_left_s(job, lines, under_way, now_s=now_s)
    left = f", {span(left_s)} left" if left_s is not None else f", {FINISHING}" if is_finishing(job, lines) else ""
    return f"{job.name}: [{bar}] {ended}/{lines.total} lines{left}"
