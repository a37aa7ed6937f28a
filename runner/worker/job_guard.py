"""Errors that nobody foresaw, met while one job was worked on → that job's own failure, and nobody else's.

`for_job` marks the code that works on one job; what escapes from it names the job, and the worker's step fails that
job and goes on.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from registry.errors import VoiceJobsError
from runner.scheduling.blame import as_told, is_of_one_job

logger = logging.getLogger(__name__)


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
