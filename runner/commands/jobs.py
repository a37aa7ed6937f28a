"""`voicejobs jobs`: what the ledger knows, and asking the runner to cancel or retry."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import click

from runner.console import (
    Command,
    LazyGroup,
    ago,
    current_instance,
    json_option,
    say,
    short,
    show,
    size,
    span,
    table,
    when,
)
from runner.errors import UsageProblem
from runner.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.database import Database
    from registry.job_values import JobDetails, JobError, JobSummary, LineCounts

NO_RUNNER = "No runner is active; it happens when one starts: voicejobs run"
STATUSES = ("waiting", "queued", "running", "done", "partial", "failed", "rejected", "cancelled", "duplicate")


@click.group(
    cls=LazyGroup, examples=("voicejobs jobs list", "voicejobs jobs show scene-4", "voicejobs jobs retry scene-4")
)
def jobs() -> None:
    """List, show, retry, cancel and prune jobs."""


def _database() -> Database:
    from registry.database import Database

    return Database.open(current_instance().database_path)


@jobs.command(
    "list",
    cls=Command,
    examples=(
        "voicejobs jobs list",
        "voicejobs jobs list --status failed --status partial",
        "voicejobs jobs list --json",
    ),
)
@click.option("--status", "statuses", multiple=True, type=click.Choice(STATUSES), help="Only these; repeatable.")
@click.option("-n", "--limit", default=50, show_default=True, type=click.IntRange(1, 100_000), help="How many.")
@json_option
def list_(statuses: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Jobs, newest first: state, progress, time left, and what went wrong."""
    from registry.job_lists import list_jobs

    with _database() as database, database.read() as snapshot:
        found = list_jobs(snapshot, statuses=statuses, limit=limit)
    shown = [_summary_json(summary) for summary in found] if as_json else found
    show(shown, as_json=as_json, text=_list_text)
    _tell_of_no_runner(found)


def _tell_of_no_runner(summaries: Iterable[JobSummary]) -> None:
    """Jobs that seem to run or to wait for their turn do nothing while nobody works."""
    from registry.job_values import OPEN_STATUSES

    if any(summary.status in OPEN_STATUSES for summary in summaries) and not current_instance().runner_is_active():
        say(NO_RUNNER)


def _time_left_s(summary: JobSummary) -> float | None:
    from runner.lines_under_way import lines_under_way
    from runner.progress import time_left_s

    now_s = time.time()
    under_way = lines_under_way(current_instance().state_dir, now_s=now_s) if summary.status == "running" else {}
    return time_left_s(summary, summary.lines, under_way.get(summary.id), now_s=now_s)


def _list_text(summaries: list[JobSummary]) -> str:
    if not summaries:
        say("no jobs")
        return ""
    now_s = time.time()
    rows = [
        (
            summary.name,
            summary.kind,
            summary.status,
            _lines_text(summary.lines),
            ago(summary.claimed_s, now_s=now_s),
            span(_time_left_s(summary)),
            short(f"waits for {', '.join(summary.waits_for)}" if summary.waits_for else _error_text(summary), 70),
        )
        for summary in summaries
    ]
    return table(("JOB", "KIND", "STATUS", "LINES", "AGE", "LEFT", ""), rows)


def _lines_text(lines: LineCounts) -> str:
    failed = f" ({lines.failed} failed)" if lines.failed else ""
    return f"{lines.published}/{lines.total}{failed}" if lines.total else "-"


def _error_text(summary: JobSummary) -> str:
    return redact(f"{summary.error.code}: {summary.error.message}") if summary.error else ""


def _error_json(error: JobError | None) -> dict[str, str] | None:
    return {key: redact(value) for key, value in error.as_json().items()} if error else None


def _summary_json(summary: JobSummary) -> dict[str, Any]:
    return {
        "job": summary.name,
        "kind": summary.kind,
        "status": summary.status,
        "priority": summary.priority,
        "model": summary.model,
        "claimed_s": summary.claimed_s,
        "started_s": summary.started_s,
        "finished_s": summary.finished_s,
        "lines": {"total": summary.lines.total, "published": summary.lines.published, "failed": summary.lines.failed},
        "time_left_s": _time_left_s(summary),
        "waits_for": list(summary.waits_for),
        "error": _error_json(summary.error),
    }


@jobs.command("show", cls=Command, examples=("voicejobs jobs show scene-4", "voicejobs jobs show scene-4 --json"))
@click.argument("job")
@click.option("-n", "--lines", default=20, show_default=True, type=click.IntRange(0, 100_000), help="How many lines.")
@json_option
def show_(job: str, lines: int, as_json: bool) -> None:
    """One job: its state, its lines, what happened to it, and what to do about errors."""
    from registry.job_lists import show_job

    instance = current_instance()
    with _database() as database, database.read() as snapshot:
        details = show_job(snapshot, job, lines=lines)
    if as_json:
        show(_details_json(details), as_json=True, text=str)
        return
    click.echo(redact(_details_text(details, outbox=str(instance.outbox))))
    _tell_of_no_runner([details.summary])


def _details_json(details: JobDetails) -> dict[str, Any]:
    import dataclasses
    import json

    job = details.job
    return {
        **_summary_json(details.summary),
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
                "error": _error_json(line.error),
            }
            for line in details.lines
        ],
        "events": [dataclasses.replace(event, message=redact(event.message)) for event in details.events],
    }


def _redacted(value: Any) -> Any:
    """What was read from JSON, without credentials."""
    if isinstance(value, dict):
        return {key: _redacted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner) for inner in value]
    return redact(value) if isinstance(value, str) else value


def _details_text(details: JobDetails, *, outbox: str) -> str:
    summary = details.summary
    left_s = _time_left_s(summary)
    left = f", {span(left_s)} left" if left_s is not None else ""
    facts = [
        ("job", f"{summary.name} ({summary.kind}, priority {summary.priority})"),
        ("status", f"{summary.status}, lines {_lines_text(summary.lines)}{left}"),
        ("model", summary.model or "-"),
        ("claimed", when(summary.claimed_s)),
        ("started", when(summary.started_s)),
        ("finished", when(summary.finished_s)),
        ("outbox", f"{outbox}/{summary.name}"),
    ]
    parts = ["\n".join(f"{name:<9} {value}" for name, value in facts)]
    if summary.waits_for:
        parts.append(f"waits for {', '.join(summary.waits_for)}")
    if summary.error:
        parts.append(
            f"error     {summary.error.code}: {summary.error.message}\n          {summary.error.hint}".rstrip()
        )
    if details.job.warnings:
        parts.append("\n".join(f"warning   {warning}" for warning in details.job.warnings))
    if details.lines:
        rows = [
            (str(line.position), line.status, line.file, short(_line_text(line.request), 50), _line_error(line.error))
            for line in details.lines
        ]
        parts.append(table(("#", "STATUS", "FILE", "TEXT", ""), rows))
    if details.events:
        parts.append("\n".join(f"{when(event.at_s)}  {event.kind}: {event.message}" for event in details.events[-20:]))
    return "\n\n".join(parts)


def _line_text(request: Any) -> str:
    return str(request.get("text", ""))


def _line_error(error: Any) -> str:
    return short(f"{error.code}: {error.message}", 60) if error else ""


def _ask(names: tuple[str, ...], request: str, *, done: str) -> None:
    from registry import job_requests
    from runner.driving import what_came_of

    is_active = current_instance().runner_is_active()
    with _database() as database:
        for name in names:
            with database.write() as session:
                job = job_requests.request(session, name, request, now_s=time.time())
            say(f"{job.name}: {(is_active and what_came_of(database, job)) or done}")
    if not is_active:
        say(NO_RUNNER)


@jobs.command("retry", cls=Command, examples=("voicejobs jobs retry scene-4",))
@click.argument("names", metavar="JOB…", nargs=-1, required=True)
def retry(names: tuple[str, ...]) -> None:
    """Run failed, partial or cancelled jobs again; lines that are done stay done."""
    _ask(names, "retry", done="asked to run again")


@jobs.command("cancel", cls=Command, examples=("voicejobs jobs cancel scene-4",))
@click.argument("names", metavar="JOB…", nargs=-1, required=True)
def cancel(names: tuple[str, ...]) -> None:
    """Stop jobs that wait or run; what is published stays in the outbox."""
    _ask(names, "cancel", done="asked to stop")


UNITS_S = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}


def seconds_in(text: str) -> float:
    """`30d` → seconds. Raises UsageProblem."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h|d|w)\s*", text)
    if match is None:
        raise UsageProblem(f"{text!r} is no length of time.", hint="Write 12h, 30d or 8w.")
    return float(match[1]) * UNITS_S[match[2]]


@jobs.command(
    "prune",
    cls=Command,
    examples=("voicejobs jobs prune --older-than 30d", "voicejobs jobs prune --older-than 2w --dry-run"),
)
@click.option("--older-than", required=True, metavar="TIME", help="How long ago they ended: 12h, 30d, 8w.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@json_option
def prune(older_than: str, dry_run: bool, as_json: bool) -> None:
    """Forget jobs that ended: their rows in the ledger and their folders in the outbox.

    Voices, takes and candidates stay. Works while a runner is active.
    """
    from runner.pruning import prune as prune_jobs

    ended_before_s = time.time() - seconds_in(older_than)
    with _database() as database:
        pruned = prune_jobs(current_instance(), database, older_than_s=ended_before_s, dry_run=dry_run)
    verb = "would be pruned" if dry_run else "pruned"
    text = f"{len(pruned.jobs)} jobs {verb}, {size(pruned.freed_bytes)}"
    show(pruned, as_json=as_json, text=lambda _: text)
