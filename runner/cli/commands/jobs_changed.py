"""`voicejobs jobs retry`, `cancel`, `rm` and `prune`: what can be done is done, and the rest is said."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import click

from registry.jobs.values import CANCEL, OPEN_STATUSES, RETRY, RETRYABLE_STATUSES, JobStatus
from runner.cli.commands.jobs import STATUSES, open_ledger
from runner.cli.completion import job_names
from runner.cli.console import NO_RUNNER, Command, current_instance, json_option, say, show
from runner.errors import UsageProblem
from runner.text_format import counted, size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from registry.jobs.values import Job
    from registry.storage.session import Session

ENDED_STATUSES = tuple(status for status in JobStatus if status not in OPEN_STATUSES)


def _chosen(function: Callable[..., int]) -> Callable[..., int]:
    """Add the arguments by which jobs are chosen."""
    statuses = click.option(
        "--status",
        "statuses",
        multiple=True,
        type=click.Choice(STATUSES),
        help="All jobs with this status, or those of the named ones; repeatable.",
    )
    return click.argument("names", metavar="[JOB…]", nargs=-1, shell_complete=job_names)(statuses(function))


def _ask(names: Sequence[str], statuses: Sequence[str], request: str, *, done: str) -> int:
    from registry.jobs.requests import add_request
    from runner.cli.chosen_jobs import choose_jobs
    from runner.cli.run import answers_to_requests
    from runner.inbox.bell import ring

    instance = current_instance()
    is_active = instance.runner_is_active()
    fitting = OPEN_STATUSES if request == CANCEL else RETRYABLE_STATUSES
    with open_ledger() as database:
        with database.write() as session:
            chosen = choose_jobs(session, names, statuses=statuses, fitting=fitting)
            asked: list[Job] = []
            for name in reversed(chosen.names) if request == CANCEL else chosen.names:  # those that wait go first
                with chosen.noted():
                    lacks_files = request == RETRY and _lacks_files(session, name)
                    asked += [
                        *(_lost_needs(session, name) if request == RETRY else ()),
                        add_request(session, name, request, now_s=time.time(), lacks_files=lacks_files),
                    ]
        asked = list({job.id: job for job in asked}.values())
        ring(instance.inbox)
        answers = answers_to_requests(database, asked) if is_active else {}
    for job in asked:
        say(f"{job.name}: {answers.get(job.id) or done}")
    if asked and not is_active:
        say(NO_RUNNER)
    return chosen.exit_code()


def _lost_needs(session: Session, name: str) -> list[Job]:
    """The jobs that are tried again along with one."""
    from registry.jobs.dependencies import lost_needs
    from registry.jobs.jobs import find_by_name

    job = find_by_name(session, name)
    return lost_needs(session, job.id) if job is not None and job.status in RETRYABLE_STATUSES else []


def _lacks_files(session: Session, name: str) -> bool:
    """Whether a job is done, and files of it are not in the outbox."""
    from registry.jobs.jobs import find_by_name
    from registry.jobs.lines import published_files
    from registry.voices.names import name_key
    from runner.outbox.outbox import RECEIPT, Outbox

    job = find_by_name(session, name)
    if job is None or job.status != JobStatus.DONE:
        return False
    there = Outbox.of(current_instance()).files_of(job.name)
    return any(name_key(file) not in there for file in (RECEIPT, *published_files(session, job.id)))


@click.command(
    cls=Command,
    examples=("voicejobs jobs retry scene-4", "voicejobs jobs retry 'quest-*'", "voicejobs jobs retry --status failed"),
)
@_chosen
def retry(names: tuple[str, ...], statuses: tuple[str, ...]) -> int:
    """Run failed, partial or cancelled jobs again; finished lines are kept.

    The failed jobs that a job needs are run again, too. Where a job file names no model, lines that were not
    finished are spoken by today's default. A job that is done, and files of which are no longer in the outbox,
    makes these again, from stored takes where there are any.
    """
    return _ask(names, statuses, RETRY, done="will be queued again")


@click.command(
    cls=Command,
    examples=(
        "voicejobs jobs cancel scene-4",
        "voicejobs jobs cancel 'quest-*'",
        "voicejobs jobs cancel --status queued",
    ),
)
@_chosen
def cancel(names: tuple[str, ...], statuses: tuple[str, ...]) -> int:
    """Cancel waiting or running jobs; published lines stay in the outbox."""
    return _ask(names, statuses, CANCEL, done="will be cancelled")


@click.command(
    cls=Command,
    examples=("voicejobs jobs rm scene-4", "voicejobs jobs rm 'quest-*' --status failed"),
)
@_chosen
def rm(names: tuple[str, ...], statuses: tuple[str, ...]) -> int:
    """Remove jobs that ended, from the ledger and the outbox.

    Their names and ids are free again. Voices, takes and candidates are kept. Works while a runner is active.
    """
    from runner.cli.chosen_jobs import choose_jobs
    from runner.cli.prune import remove_jobs

    with open_ledger() as database:
        with database.read() as session:
            chosen = choose_jobs(session, names, statuses=statuses, fitting=ENDED_STATUSES)
        removed = remove_jobs(current_instance(), database, chosen)
    for name in removed:
        say(f"{name}: removed")
    return chosen.exit_code()


UNITS_S = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}


def seconds_in(text: str) -> float:
    """`30d` → seconds. Raises UsageProblem."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h|d|w)\s*", text)
    if match is None:
        raise UsageProblem(f"{text!r} is not a length of time.", hint="Write 12h, 30d or 8w.")
    return float(match[1]) * UNITS_S[match[2]]


@click.command(
    cls=Command,
    examples=("voicejobs jobs prune --older-than 30d", "voicejobs jobs prune --older-than 2w --dry-run"),
)
@click.option("--older-than", required=True, metavar="TIME", help="Minimum time since they ended: 12h, 30d, 8w.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@json_option
def prune(older_than: str, dry_run: bool, as_json: bool) -> None:
    """Remove jobs that ended long ago, from the ledger and the outbox.

    Voices, takes and candidates are kept. Works while a runner is active.
    """
    from runner.cli.prune import prune_jobs

    ended_before_s = time.time() - seconds_in(older_than)
    with open_ledger(reads_only=dry_run) as database:
        pruned = prune_jobs(current_instance(), database, older_than_s=ended_before_s, dry_run=dry_run)
    verb = "would be pruned" if dry_run else "pruned"
    text = f"{counted(len(pruned.jobs), 'job')} {verb}, {size(pruned.freed_bytes)}"
    show(pruned, as_json=as_json, text=lambda _: text)
