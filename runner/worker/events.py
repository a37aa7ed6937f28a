"""Small frozen values: the parts of the worker queue what has happened, and the worker acts on it after each step."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from registry.errors import VoiceJobsError
from registry.jobs.values import Job


@dataclass(frozen=True)
class ReadyMayExist:
    """The ledger may hold jobs that could start."""


@dataclass(frozen=True)
class TakesWritten:
    """Takes have come into the store, and their lines into the outbox."""


@dataclass(frozen=True)
class OutcomesCommitted:
    """Jobs that have come to an end in the ledger, and want their receipts."""

    job_ids: tuple[int, ...]


@dataclass(frozen=True)
class JobDelayed:
    """A job to which the disk refuses what it needs: it waits, and the others go on."""

    job: Job
    error: VoiceJobsError


@dataclass(frozen=True)
class JobEnded:
    """A job whose receipt is in the outbox."""

    job: Job


@dataclass(frozen=True)
class EngineDied:
    """An engine process that was lost, with the model that it held."""

    model: str | None
    reason: str
    detail: str


Event: TypeAlias = ReadyMayExist | TakesWritten | OutcomesCommitted | JobDelayed | JobEnded | EngineDied
Events: TypeAlias = deque[Event]  # any thread may append
