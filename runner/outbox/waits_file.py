"""Reasons for which jobs cannot go on now → a small file of the runner, and back, for commands that list jobs.

Written when something changes and never made durable: without an active runner it says nothing. Touches the disk.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from registry.durable_files import read_regular
from registry.errors import VoiceJobsError
from registry.jobs.values import Job, JobError, JobStatus, ListedJob

if TYPE_CHECKING:
    from runner.config.instance import Instance  # lists read this file, and need no pydantic for it

FILE = "waits.json"
# What a job may wait for.
JOB, MODEL, NETWORK, DISK, MEMORY, MOUNT, ENGINE = "job", "model", "network", "disk", "memory", "mount", "engine"
RUNNER = "runner"
_OF_CODES = {
    "not-enough-memory": MEMORY,
    "no-space": DISK,
    "outbox-gone": MOUNT,
    "hub-unreachable": NETWORK,
    "hub-refused": NETWORK,
    "download-failed": NETWORK,
    "download-corrupt": NETWORK,
}


@dataclass(frozen=True)
class Wait:
    """The thing that a job waits for, in one word, and a sentence that says more."""

    what: str
    why: str

    @property
    def text(self) -> str:
        return self.why if self.what == JOB else f"waits ({self.what}): {self.why}"


TURN = Wait(ENGINE, "other jobs go first")


@dataclass(frozen=True, kw_only=True)
class Waits:
    """Everything that keeps jobs waiting, as the runner sees it."""

    all_jobs: Wait | None = None
    models: Mapping[str, Wait] = field(default_factory=dict)
    jobs: Mapping[int, Wait] = field(default_factory=dict)  # by ledger id

    def of(self, listed: ListedJob, *, now_s: float) -> Wait | None:
        """Wait of an open job; None for one that has ended, or is being worked on."""
        job = listed.job
        if job.status == JobStatus.WAITING:
            return Wait(JOB, f"waits for {', '.join(listed.waits_for)}")
        if job.outcome is not None or job.status not in (JobStatus.QUEUED, JobStatus.RUNNING):
            return None
        if self.all_jobs is not None:
            return self.all_jobs
        if (own := self.jobs.get(job.id)) is not None and _is_delayed(job, now_s):
            return own
        if job.model is not None and (of_model := self.models.get(job.model)) is not None:
            return of_model
        return TURN if job.status == JobStatus.QUEUED else None


NO_RUNNER_YET = Waits(all_jobs=Wait(RUNNER, "no runner is active"))


def _is_delayed(job: Job, now_s: float) -> bool:
    return job.status == JobStatus.QUEUED and job.not_before_s > now_s


def wait_for_error(error: VoiceJobsError | JobError, *, otherwise: str = DISK) -> Wait:
    """The wait that an error causes."""
    return Wait(_OF_CODES.get(error.code, otherwise), error.message)


def read_waits(state_dir: Path) -> Waits:
    """Waits as an active runner has written them last; none where the file is absent, or of another version."""
    try:
        content = json.loads(read_regular(state_dir / FILE))
        return Waits(
            all_jobs=Wait(**content["all_jobs"]) if content["all_jobs"] else None,
            models={name: Wait(**wait) for name, wait in content["models"].items()},
            jobs={int(job_id): Wait(**wait) for job_id, wait in content["jobs"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Waits()


def waits_of(instance: Instance) -> Waits:
    """Everything that keeps jobs waiting, as far as an active runner tells."""
    return read_waits(instance.state_dir) if instance.runner_is_active() else NO_RUNNER_YET


@dataclass
class WaitsWriter:
    """Keeps the file as things are."""

    state_dir: Path
    _written: Waits | None = None

    def write(self, waits: Waits) -> None:
        """Write what has changed; there is no file while nothing waits."""
        if waits == self._written:
            return
        self._written = waits
        path = self.state_dir / FILE
        with contextlib.suppress(OSError):  # a full disk is noticed by what matters
            if waits == Waits():
                path.unlink(missing_ok=True)
                return
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(asdict(waits), ensure_ascii=False), encoding="utf-8")
            temporary.replace(path)
