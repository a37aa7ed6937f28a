"""Names, patterns and statuses of a command line → jobs; and what could not be done with some of them, said."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from registry.errors import VoiceJobsError
from registry.jobs.jobs import JobNotFound
from registry.jobs.lists import names_like
from registry.storage.session import Session
from runner.cli.console import complain, say
from runner.errors import UsageProblem
from runner.exit_codes import OK

WILD = "*?["


@dataclass
class Chosen:
    """Names of jobs, in the order in which they were claimed, and the errors met with some of them."""

    names: list[str]
    errors: list[VoiceJobsError] = field(default_factory=list)

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note an error with one of the jobs: the others go on."""
        try:
            yield
        except VoiceJobsError as error:
            self.errors.append(error)

    def exit_code(self) -> int:
        """Say what could not be done; returns the exit code of the first such error."""
        codes = [complain(error) for error in self.errors]
        return codes[0] if codes else OK


def choose_jobs(session: Session, names: Sequence[str], *, statuses: Sequence[str], fitting: Sequence[str]) -> Chosen:
    """The jobs that a command line means: named ones, those whose names fit a pattern, or all with a status.

    Patterns and statuses alone choose only jobs with a `fitting` status. Raises UsageProblem when nothing is chosen by.
    """
    if not names and not statuses:
        raise UsageProblem("No job is named.", hint="Name jobs, give a pattern such as 'quest-*', or use --status.")
    wanted = [status for status in fitting if not statuses or status in statuses]
    chosen = Chosen(names=[])
    for name in names or ("*",):
        if not any(character in name for character in WILD):
            chosen.names.append(name)
            continue
        found = names_like(session, name, statuses=wanted)
        chosen.names += found
        if not found and names:
            states = ", ".join(wanted) or "of that status"
            chosen.errors.append(JobNotFound(f"No job that is {states} fits {name!r}."))
    if statuses and names:
        allowed = set(names_like(session, "*", statuses=statuses))
        chosen.names = [name for name in chosen.names if name in allowed]
    chosen.names = list(dict.fromkeys(chosen.names))
    if not chosen.names and not chosen.errors:
        say("no job fits")
    return chosen
