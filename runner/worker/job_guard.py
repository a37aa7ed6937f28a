"""Errors that nobody foresaw, met while one job was worked on → that job's own failure, and nobody else's.

`for_job` marks the code that works on one job; what escapes from it names the job, and the worker's step fails that
job and goes on. A death of the whole process cannot be caught: `Beginnings` remembers in a small file which jobs were
being begun, so that the next runner begins these one by one, and sets a job aside over which three runners have died.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from registry.durable_files import crash_point
from registry.errors import VoiceJobsError, storage_error
from runner.errors import RunnerDied
from runner.scheduling.blame import as_told, is_of_one_job

logger = logging.getLogger(__name__)

DEATHS_ALLOWED = 2


class JobBroken(Exception):
    """An error that must end one job; `error` is its cause. Passes from the place to the worker's step only."""

    def __init__(self, job_id: int, error: Exception) -> None:
        super().__init__(f"job {job_id}: {error}")
        self.job_id, self.error = job_id, error

    def log(self) -> None:
        """Write the trace of a cause that nobody foresaw into the log."""
        trace = None if isinstance(self.error, VoiceJobsError) else self.error
        logger.error("job %d is broken: %s", self.job_id, self.error, exc_info=trace)

    @property
    def reason(self) -> VoiceJobsError:
        """The cause, as the job's receipt tells it."""
        return as_told(self.error)


@contextlib.contextmanager
def for_job(job_id: int) -> Iterator[None]:
    """Work on one job within. Raises JobBroken for every error that is this job's alone."""
    try:
        yield
    except JobBroken:
        raise
    except Exception as error:
        if is_of_one_job(error):
            raise JobBroken(job_id, error) from error
        raise


@dataclass(frozen=True, kw_only=True)
class Beginnings:
    """Jobs being begun, in a file that outlives the process: ledger id → how many runners died over it before.

    The file is not synced. A process that dies leaves it behind; a power cut, which may not, is no fault of a job.
    """

    path: Path
    _deaths: dict[int, int] = field(default_factory=dict)

    def recover(self) -> None:
        """Count the death of the runner before this one, if it died while it was beginning jobs."""
        try:
            left = json.loads(self.path.read_text(encoding="utf-8"))
            being_begun = [int(job_id) for job_id in left["begun"]]
            deaths = {int(job_id): int(count) for job_id, count in left["deaths"].items()}
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # cut short by the death itself
            logger.warning("%s cannot be read and is left out: %s", self.path.name, error)
            return
        self._deaths.update(deaths)
        for job_id in being_begun:
            self._deaths[job_id] = self._deaths.get(job_id, 0) + 1
            logger.warning("job %d was being begun when a runner died (%d times now)", job_id, self._deaths[job_id])
        self._write(())

    def admit(self, job_ids: Sequence[int]) -> Sequence[int]:
        """As many of these, from the first, as may be begun together: one over which a runner died begins alone."""
        if job_ids and job_ids[0] in self._deaths:
            return job_ids[:1]
        return [job_id for job_id in job_ids if job_id not in self._deaths]

    def refuse_deadly(self, job_id: int) -> None:
        """Raise RunnerDied when too many runners have died over this job."""
        if (deaths := self._deaths.get(job_id, 0)) > DEATHS_ALLOWED:
            self.forget(job_id)
            raise RunnerDied(deaths)

    @contextlib.contextmanager
    def noted(self, job_ids: Sequence[int]) -> Iterator[None]:
        """Begin these jobs within."""
        self._write(job_ids)
        crash_point("worker.jobs-beginning")
        try:
            yield
        finally:
            for job_id in job_ids:
                self._deaths.pop(job_id, None)
            self._write(())

    def forget(self, job_id: int) -> None:
        """The job was set aside: when somebody retries it, the count starts again."""
        self._deaths.pop(job_id, None)

    def _write(self, job_ids: Sequence[int]) -> None:
        try:
            if job_ids or self._deaths:
                self.path.write_text(json.dumps({"begun": list(job_ids), "deaths": self._deaths}), encoding="utf-8")
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, f"writing {self.path}") from error
