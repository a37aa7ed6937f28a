"""`voicejobs jobs`: the ledger shown, and requests to cancel or retry."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import click

from registry.jobs.values import CANCEL, RETRY, JobStatus
from runner.cli.console import (
    NO_RUNNER,
    Command,
    LazyGroup,
    current_instance,
    echo,
    json_option,
    say,
    show,
    terminal_table,
)
from runner.errors import UsageProblem
from runner.outbox.receipt import error_entry
from runner.redaction import redact
from runner.text_format import ago, counted, short, size, span, when

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from registry.jobs.values import JobDetails, JobError, LineCounts, ListedJob
    from registry.storage.database import Database
    from registry.storage.session import Session
    from runner.outbox.waits_file import Waits

WAITING_SHOWN = 10
STATUSES = [str(status) for status in JobStatus]


@click.group(
    cls=LazyGroup, examples=("voicejobs jobs list", "voicejobs jobs show scene-4", "voicejobs jobs retry scene-4")
)
def jobs() -> None:
    """List, show, retry, cancel and prune jobs."""


def _database() -> Database:
    from registry.storage.database import Database

    instance = current_instance()
    return Database.open(instance.database_path, root=instance.root)


@jobs.command(
    "list",
    cls=Command,
    examples=(
        "voicejobs jobs list",
        "voicejobs jobs list --status failed --status partial",
        "voicejobs jobs list --json",
    ),
)
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice(STATUSES), help="Only jobs with this status; repeatable."
)
@click.option("-n", "--limit", default=50, show_default=True, type=click.IntRange(1, 100_000), help="How many.")
@json_option
def list_(statuses: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List jobs, newest first: state, progress, time left, and errors.

    Below them is what waits or is left alone in the inbox, and why; with --json it is in `voicejobs doctor --json`.
    """
    from registry.jobs.jobs import is_recorded
    from registry.jobs.lists import list_jobs

    with _database() as database, database.read() as snapshot:
        found = list_jobs(snapshot, statuses=statuses, limit=limit)
        inbox = "" if as_json or statuses else _inbox_text(lambda claim_id: is_recorded(snapshot, claim_id))
    waits = _waits()
    shown = [_listed_json(listed, waits) for listed in found] if as_json else found
    show(shown, as_json=as_json, text=lambda found: _list_text(found, waits))
    if inbox:
        echo(f"\n{inbox}" if found else inbox)
    _warn_of_no_runner(found)


def _inbox_text(is_recorded: Callable[[str], bool]) -> str:
    """Table of what is in the inbox and is no job yet; "" when there is nothing."""
    from runner.inbox.waiting import waiting_in

    instance = current_instance()
    if not instance.inbox.exists() and instance.holds(instance.inbox):
        return ""  # the first run makes it
    try:
        waiting = waiting_in(instance, is_recorded=is_recorded)
    except OSError as error:
        say(f"The inbox {instance.inbox} cannot be read: {error.strerror}.")
        return ""
    now_s = time.time()
    rows = [(entry.name, ago(entry.since_s, now_s=now_s), entry.reason) for entry in waiting[:WAITING_SHOWN]]
    if (more := len(waiting) - WAITING_SHOWN) > 0:
        rows.append(("…", "", f"and {more:,} more"))
    return terminal_table(("IN THE INBOX", "AGE", ""), rows) if rows else ""


def _warn_of_no_runner(found: Iterable[ListedJob]) -> None:
    """Warn when jobs seem to run or wait, but no runner is active."""
    from registry.jobs.values import OPEN_STATUSES

    if any(listed.job.status in OPEN_STATUSES for listed in found) and not current_instance().runner_is_active():
        say(NO_RUNNER)


def _time_left_s(listed: ListedJob) -> float | None:
    from runner.outbox.progress_file import lines_under_way, time_left_s

    now_s = time.time()
    job = listed.job
    under_way = lines_under_way(current_instance().state_dir, now_s=now_s) if job.status == JobStatus.RUNNING else {}
    return time_left_s(job, listed.lines, under_way.get(job.id), now_s=now_s)


def _list_text(found: list[ListedJob], waits: Waits) -> str:
    if not found:
        say("no jobs")
        return ""
    now_s = time.time()
    rows = [
        (
            listed.job.name,
            listed.job.kind,
            listed.job.status,
            _lines_text(listed.lines),
            ago(listed.job.claimed_s, now_s=now_s),
            span(_time_left_s(listed)),
            short(_note(listed, waits), 160),
        )
        for listed in found
    ]
    return terminal_table(("JOB", "KIND", "STATUS", "LINES", "AGE", "LEFT", ""), rows)


def _note(listed: ListedJob, waits: Waits) -> str:
    from runner.cli.progress import FINISHING
    from runner.outbox.progress_file import is_finishing

    if (wait := waits.of(listed, now_s=time.time())) is not None:
        return redact(wait.text)
    return FINISHING if is_finishing(listed.job, listed.lines) else _error_text(listed.job.error)


def _waits() -> Waits:
    """Everything that keeps jobs waiting, as far as an active runner tells."""
    from runner.outbox.waits_file import NO_RUNNER_YET, read_waits

    instance = current_instance()
    return read_waits(instance.state_dir) if instance.runner_is_active() else NO_RUNNER_YET


def _lines_text(lines: LineCounts) -> str:
    failed = f" ({lines.failed} failed)" if lines.failed else ""
    return f"{lines.published}/{lines.total}{failed}" if lines.total else "-"


def _error_text(error: JobError | None) -> str:
    return redact(f"{error.code}: {error.message}") if error else ""


def _listed_json(listed: ListedJob, waits: Waits) -> dict[str, Any]:
    job, lines = listed.job, listed.lines
    wait = waits.of(listed, now_s=time.time())
    return {
        "job": job.name,
        "kind": job.kind,
        "status": job.status,
        "priority": job.priority,
        "model": job.model,
        "claimed_s": job.claimed_s,
        "started_s": job.started_s,
        "finished_s": job.finished_s,
        "lines": {"total": lines.total, "published": lines.published, "failed": lines.failed},
        "time_left_s": _time_left_s(listed),
        "waits_for": list(listed.waits_for),
        "wait": {"for": wait.what, "why": redact(wait.why)} if wait is not None else None,
        "error": error_entry(job.error),
    }


@jobs.command("show", cls=Command, examples=("voicejobs jobs show scene-4", "voicejobs jobs show scene-4 --json"))
@click.argument("job")
@click.option("-n", "--lines", default=20, show_default=True, type=click.IntRange(0, 100_000), help="How many lines.")
@json_option
def show_(job: str, lines: int, as_json: bool) -> None:
    """Show one job: its state, lines and events, and what to do about errors."""
    from registry.jobs.lists import show_job

    instance = current_instance()
    with _database() as database, database.read() as snapshot:
        details = show_job(snapshot, job, lines=lines)
    if as_json:
        show(_details_json(details), as_json=True, text=str)
        return
    echo(redact(_details_text(details, outbox=str(instance.outbox), waits=_waits())))
    _warn_of_no_runner([details.listed])


def _details_json(details: JobDetails) -> dict[str, Any]:
    import dataclasses
    import json

    job = details.job
    return {
        **_listed_json(details.listed, _waits()),
        "id": job.key,
        "dropped_name": job.dropped_name,
        "attempts": job.attempts,
        "warnings": [redact(warning) for warning in job.warnings],
        "spec": _redacted(json.loads(job.spec_json)),
        "line_list": [
            {
                "index": line.position,
                "id": line.key,
                "file": line.file,
                "status": line.status,
                "model": line.model,
                "seed": line.seed,
                "error": error_entry(line.error),
            }
            for line in details.lines
        ],
        "events": [dataclasses.replace(event, message=redact(event.message)) for event in details.events],
    }


def _redacted(value: Any) -> Any:
    """Value from JSON, without credentials."""
    if isinstance(value, dict):
        return {key: _redacted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner) for inner in value]
    return redact(value) if isinstance(value, str) else value


def _details_text(details: JobDetails, *, outbox: str, waits: Waits) -> str:
    job, left_s = details.job, _time_left_s(details.listed)
    left = f", {span(left_s)} left" if left_s is not None else ""
    facts = [
        ("job", f"{job.name} ({job.kind}, priority {job.priority})"),
        ("status", f"{job.status}, lines {_lines_text(details.listed.lines)}{left}"),
        ("model", job.model or "-"),
        ("claimed", when(job.claimed_s)),
        ("started", when(job.started_s)),
        ("finished", when(job.finished_s)),
        ("outbox", f"{outbox}/{job.name}"),
    ]
    parts = ["\n".join(f"{name:<9} {value}" for name, value in facts)]
    if (wait := waits.of(details.listed, now_s=time.time())) is not None:
        parts.append(wait.text)
    if job.error:
        parts.append(f"error     {job.error.code}: {job.error.message}\n          {job.error.hint}".rstrip())
    if job.warnings:
        parts.append("\n".join(f"warning   {warning}" for warning in job.warnings))
    if details.lines:
        rows = [
            (
                str(line.position),
                line.status,
                "-" if line.error or line.request.is_pause else line.file,
                short(line.request.text, 50),
                short(_error_text(line.error), 60),
            )
            for line in details.lines
        ]
        parts.append(terminal_table(("#", "STATUS", "FILE", "TEXT", ""), rows))
    if details.events:
        parts.append("\n".join(f"{when(event.at_s)}  {event.kind}: {event.message}" for event in details.events[-20:]))
    return "\n\n".join(parts)


def _ask(names: tuple[str, ...], request: str, *, done: str) -> None:
    from registry.jobs.requests import add_request
    from runner.cli.run import answer_to_request

    is_active = current_instance().runner_is_active()
    with _database() as database:
        for name in names:
            with database.write() as session:
                lacks_files = request == RETRY and _lacks_files(session, name)
                job = add_request(session, name, request, now_s=time.time(), lacks_files=lacks_files)
            say(f"{job.name}: {(is_active and answer_to_request(database, job)) or done}")
    if not is_active:
        say(NO_RUNNER)


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


@jobs.command("retry", cls=Command, examples=("voicejobs jobs retry scene-4",))
@click.argument("names", metavar="JOB…", nargs=-1, required=True)
def retry(names: tuple[str, ...]) -> None:
    """Run failed, partial or cancelled jobs again; finished lines are kept.

    A job that is done, and files of which are no longer in the outbox, makes these again, from stored takes where
    there are any.
    """
    _ask(names, RETRY, done="will run again")


@jobs.command("cancel", cls=Command, examples=("voicejobs jobs cancel scene-4",))
@click.argument("names", metavar="JOB…", nargs=-1, required=True)
def cancel(names: tuple[str, ...]) -> None:
    """Cancel waiting or running jobs; published lines stay in the outbox."""
    _ask(names, CANCEL, done="will be cancelled")


UNITS_S = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}


def seconds_in(text: str) -> float:
    """`30d` → seconds. Raises UsageProblem."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h|d|w)\s*", text)
    if match is None:
        raise UsageProblem(f"{text!r} is not a length of time.", hint="Write 12h, 30d or 8w.")
    return float(match[1]) * UNITS_S[match[2]]


@jobs.command(
    "prune",
    cls=Command,
    examples=("voicejobs jobs prune --older-than 30d", "voicejobs jobs prune --older-than 2w --dry-run"),
)
@click.option("--older-than", required=True, metavar="TIME", help="Minimum time since they ended: 12h, 30d, 8w.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@json_option
def prune(older_than: str, dry_run: bool, as_json: bool) -> None:
    """Remove jobs that ended, from the ledger and the outbox.

    Voices, takes and candidates are kept. Works while a runner is active.
    """
    from runner.cli.prune import prune_jobs

    ended_before_s = time.time() - seconds_in(older_than)
    with _database() as database:
        pruned = prune_jobs(current_instance(), database, older_than_s=ended_before_s, dry_run=dry_run)
    verb = "would be pruned" if dry_run else "pruned"
    text = f"{counted(len(pruned.jobs), 'job')} {verb}, {size(pruned.freed_bytes)}"
    show(pruned, as_json=as_json, text=lambda _: text)
