"""`voicejobs jobs`: the ledger shown. What changes jobs is in `jobs_changed`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from registry.jobs.values import JobStatus, LineStatus
from runner.cli.completion import job_names
from runner.cli.console import (
    NO_RUNNER,
    Command,
    LazyGroup,
    current_instance,
    echo,
    json_option,
    reachable,
    say,
    show,
    terminal_table,
)
from runner.outbox.receipt import error_entry, iso
from runner.redaction import redact
from runner.text_format import ago, counted, short, span, when

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from registry.jobs.values import Job, JobDetails, JobError, JobEvent, LineCounts, ListedJob, Speeds
    from registry.storage.database import Database
    from registry.storage.session import Session
    from runner.outbox.progress_file import UnderWay
    from runner.outbox.waits_file import Waits

WAITING_SHOWN = 10
LINE_WORDS = {LineStatus.PUBLISHED: "done", LineStatus.TAKEN: "saving"}  # as jobs are called; --json has the ledger's
STATUSES = [str(status) for status in JobStatus]


CHANGES = "runner.cli.commands.jobs_changed"
AUDITIONS = "runner.cli.commands.auditions"
COMMANDS = {
    "play": (f"{AUDITIONS}:play", "Play the track of a job, a line, or candidates."),
    "open": (f"{AUDITIONS}:open_", "Open a job's folder in the outbox, on a desktop."),
    "retry": (f"{CHANGES}:retry", "Run failed, partial or cancelled jobs again; finished lines are kept."),
    "cancel": (f"{CHANGES}:cancel", "Cancel waiting or running jobs; published lines stay in the outbox."),
    "rm": (f"{CHANGES}:rm", "Remove jobs that ended, from the ledger and the outbox."),
    "prune": (f"{CHANGES}:prune", "Remove jobs that ended long ago, from the ledger and the outbox."),
}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    examples=("voicejobs jobs list", "voicejobs jobs show scene-4", "voicejobs jobs retry scene-4"),
)
def jobs() -> None:
    """List, show, play, retry, cancel and remove jobs."""


def open_ledger(*, reads_only: bool = False) -> Database:
    """The database of this command line's instance; `reads_only` as of `Database.open`."""
    from registry.storage.database import Database

    instance = current_instance()
    return Database.open(instance.database_path, root=instance.root, reads_only=reads_only)


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
    from runner.outbox.waits_file import waits_of

    with open_ledger(reads_only=True) as database, database.read() as snapshot:
        found = list_jobs(snapshot, statuses=statuses, limit=limit)
        clock = clock_of(snapshot)
        inbox = "" if as_json or statuses else _inbox_text(lambda claim_id: is_recorded(snapshot, claim_id))
    waits = waits_of(current_instance())
    shown = [_listed_json(listed, waits, clock) for listed in found] if as_json else found
    show(shown, as_json=as_json, text=lambda found: _list_text(found, waits, clock))
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


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Everything by which the time left of jobs is told."""

    is_active: bool  # whether a runner works
    under_way: Mapping[int, UnderWay]
    speeds: Speeds
    now_s: float

    def left_s(self, listed: ListedJob) -> float | None:
        """Time that a job still needs, by its own pace, else by the speed of this machine."""
        from runner.outbox.progress_file import estimated_s, time_left_s

        own = self.under_way.get(listed.job.id)
        by_pace = time_left_s(listed.job, listed.lines, own, now_s=self.now_s) if self.is_active else None
        return by_pace if by_pace is not None else estimated_s(listed, self.speeds)


def clock_of(snapshot: Session) -> Clock:
    """The clock of this command line's instance, as things are now."""
    from registry.jobs.takes import speeds
    from runner.outbox.progress_file import lines_under_way

    instance, now_s = current_instance(), time.time()
    under_way = lines_under_way(instance.state_dir, now_s=now_s)
    is_active = instance.runner_is_active()
    return Clock(is_active=is_active, under_way=under_way, speeds=speeds(snapshot), now_s=now_s)


def _list_text(found: list[ListedJob], waits: Waits, clock: Clock) -> str:
    if not found:
        say("no jobs")
        return ""
    rows = [
        (
            listed.job.name,
            listed.job.kind,
            _status_text(listed.job, clock),
            _lines_text(listed.lines),
            ago(listed.job.claimed_s, now_s=clock.now_s),
            span(clock.left_s(listed)),
            short(_note(listed, waits), 160),
        )
        for listed in found
    ]
    return terminal_table(("JOB", "KIND", "STATUS", "LINES", "AGE", "LEFT", ""), rows)


def _status_text(job: Job, clock: Clock) -> str:
    """The state of a job; one that runs, and has no runner, is paused."""
    return "paused" if job.status == JobStatus.RUNNING and not clock.is_active else job.status


def _note(listed: ListedJob, waits: Waits) -> str:
    from runner.cli.progress import FINISHING
    from runner.outbox.progress_file import is_finishing

    if (wait := waits.of(listed, now_s=time.time())) is not None:
        return reachable(redact(wait.text))
    if is_finishing(listed.job, listed.lines):
        return FINISHING
    if listed.job.status == JobStatus.RUNNING and (doing := listed.job.facts.get("progress")):
        return str(doing)
    warnings = counted(len(listed.job.warnings), "warning") if listed.job.warnings else ""
    return reachable("; ".join(part for part in (_error_text(listed.job.error), warnings) if part))


def _lines_text(lines: LineCounts) -> str:
    failed = f" ({lines.failed} failed)" if lines.failed else ""
    return f"{lines.published}/{lines.total}{failed}" if lines.total else "-"


def _error_text(error: JobError | None) -> str:
    return redact(f"{error.code}: {error.message}") if error else ""


def _listed_json(listed: ListedJob, waits: Waits, clock: Clock) -> dict[str, Any]:
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
        "claimed_at": iso(job.claimed_s),
        "started_at": iso(job.started_s),
        "finished_at": iso(job.finished_s),
        "lines": {"total": lines.total, "published": lines.published, "failed": lines.failed},
        "time_left_s": clock.left_s(listed),
        "warnings": [redact(warning) for warning in job.warnings],
        "waits_for": list(listed.waits_for),
        "wait": {"for": wait.what, "why": redact(wait.why)} if wait is not None else None,
        "error": error_entry(job.error),
    }


@jobs.command("show", cls=Command, examples=("voicejobs jobs show scene-4", "voicejobs jobs show scene-4 --json"))
@click.argument("job", shell_complete=job_names)
@click.option("-n", "--lines", default=20, show_default=True, type=click.IntRange(0, 100_000), help="How many lines.")
@json_option
def show_(job: str, lines: int, as_json: bool) -> None:
    """Show one job: its state, lines and events, and what to do about errors."""
    from registry.jobs.lists import show_job
    from runner.outbox.waits_file import waits_of

    instance = current_instance()
    with open_ledger(reads_only=True) as database, database.read() as snapshot:
        details = show_job(snapshot, job, lines=lines)
        clock = clock_of(snapshot)
    if as_json:
        show(_details_json(details, clock), as_json=True, text=str)
        return
    text = _details_text(details, clock, outbox=str(instance.outbox), waits=waits_of(instance))
    echo(reachable(redact(text)))
    _warn_of_no_runner([details.listed])


def _details_json(details: JobDetails, clock: Clock) -> dict[str, Any]:
    import json

    from runner.outbox.waits_file import waits_of

    job = details.job
    return {
        **_listed_json(details.listed, waits_of(current_instance()), clock),
        "id": job.key,
        "dropped_name": job.dropped_name,
        "attempts": job.attempts,
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
        "events": [
            {"at_s": event.at_s, "at": iso(event.at_s), "kind": event.kind, "message": redact(event.message)}
            for event in details.events
        ],
    }


def _event_text(event: JobEvent) -> str:
    return event.message if event.message.startswith(event.kind) else f"{event.kind}: {event.message}"


def _redacted(value: Any) -> Any:
    """Value from JSON, without credentials."""
    if isinstance(value, dict):
        return {key: _redacted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner) for inner in value]
    return redact(value) if isinstance(value, str) else value


def _details_text(details: JobDetails, clock: Clock, *, outbox: str, waits: Waits) -> str:
    job, left_s = details.job, clock.left_s(details.listed)
    left = f", {span(left_s)} left" if left_s is not None else ""
    facts = [
        ("job", f"{job.name} ({job.kind}, priority {job.priority})"),
        ("status", f"{_status_text(job, clock)}, lines {_lines_text(details.listed.lines)}{left}"),
        ("model", job.model or "-"),
        ("claimed", when(job.claimed_s)),
        ("started", when(job.started_s)),
        ("finished", when(job.finished_s)),
        ("outbox", f"{outbox}/{job.name}"),
    ]
    if job.status == JobStatus.RUNNING and (doing := job.facts.get("progress")):
        facts.insert(2, ("progress", doing))
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
                LINE_WORDS.get(line.status, line.status),
                "-" if line.error or line.request.is_pause else line.file,
                short(line.request.text, 50),
                short(_error_text(line.error), 60),
            )
            for line in details.lines
        ]
        parts.append(terminal_table(("#", "STATUS", "FILE", "TEXT", ""), rows))
    if details.events:
        parts.append("\n".join(f"{when(event.at_s)}  {_event_text(event)}" for event in details.events[-20:]))
    return "\n\n".join(parts)
