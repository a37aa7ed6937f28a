"""`voicejobs status` and `logs`: what the runner is doing, and what it has written down."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.durable_files import open_regular, read_regular
from registry.errors import storage_error
from registry.jobs.values import OPEN_STATUSES, JobStatus
from runner.cli.console import NO_RUNNER, Command, current_instance, echo, json_option, say, show
from runner.exit_codes import NEEDS_ACTION, OK
from runner.text_format import counted, span

if TYPE_CHECKING:
    from runner.config.instance import Instance

RUNNING_SHOWN = 10
LOOK_S = 0.3  # between two looks at a log that is followed


@click.command(
    cls=Command,
    examples=("voicejobs status", "voicejobs status --json", "voicejobs status || echo 'start it: voicejobs run'"),
)
@json_option
def status(as_json: bool) -> int:
    """Show whether a runner is active, what is being spoken, and what waits.

    Exit code 3 when no runner is active.
    """
    instance = current_instance()
    found = _status(instance)
    show(found, as_json=as_json, text=_text)
    if not found["runner"]:
        say(NO_RUNNER)
    return OK if found["runner"] else NEEDS_ACTION


def _status(instance: Instance) -> dict[str, Any]:
    from registry.jobs.lists import jobs_by_status, list_jobs
    from registry.storage.database import Database
    from runner.outbox.progress_file import lines_under_way, time_left_s
    from runner.outbox.waits_file import waits_of
    from runner.redaction import redact

    now_s = time.time()
    if not instance.database_path.exists():
        return {"runner": instance.runner_is_active(), "root": str(instance.root), "jobs": {}, "running": []}
    with (
        Database.open(instance.database_path, root=instance.root, reads_only=True) as database,
        database.read() as snapshot,
    ):
        counts = jobs_by_status(snapshot)
        running = list_jobs(snapshot, statuses=[JobStatus.RUNNING], limit=RUNNING_SHOWN)
    under_way = lines_under_way(instance.state_dir, now_s=now_s)
    is_active, waits = instance.runner_is_active(), waits_of(instance)
    return {
        "runner": is_active,
        "root": str(instance.root),
        "jobs": {str(name): counts[name] for name in JobStatus if counts[name]},
        "running": [
            {
                "job": listed.job.name,
                "kind": listed.job.kind,
                "model": listed.job.model,
                "lines": {"total": listed.lines.total, "published": listed.lines.published},
                "progress": listed.job.facts.get("progress") or None,
                "time_left_s": time_left_s(listed.job, listed.lines, under_way.get(listed.job.id), now_s=now_s)
                if is_active
                else None,
                "wait": {"for": wait.what, "why": redact(wait.why)} if wait is not None else None,
            }
            for listed in running
            for wait in (waits.of(listed, now_s=now_s),)
        ],
    }


def _text(found: dict[str, Any]) -> str:
    open_jobs = {name: found["jobs"].get(str(name), 0) for name in OPEN_STATUSES}
    counts = ", ".join(f"{number} {name}" for name, number in open_jobs.items() if number) or "nothing to do"
    lines = [f"{'running' if found['runner'] else 'no runner'}: {found['root']}: {counts}"]
    for job in found["running"]:
        total = job["lines"]["total"]
        done = f", {job['lines']['published']} of {counted(total, 'line')}" if total else ""
        left = f", {span(job['time_left_s'])} left" if job["time_left_s"] is not None else ""
        waits = f", waits ({job['wait']['for']}): {job['wait']['why']}" if job["wait"] and found["runner"] else ""
        model = f" by {job['model']}" if job["model"] else ""
        doing = f", {job['progress']}" if job["progress"] else ""
        lines.append(f"  {job['job']}: {job['kind']}{model}{done}{left}{doing}{waits}")
    return "\n".join(lines)


@click.command(
    cls=Command,
    examples=("voicejobs logs", "voicejobs logs -f", "voicejobs logs --engine -n 100"),
)
@click.option("-f", "--follow", is_flag=True, help="Go on as lines are added, until Ctrl-C.")
@click.option("-n", "--lines", default=30, show_default=True, type=click.IntRange(0, 1_000_000), help="How many lines.")
@click.option("--engine", "of_engine", is_flag=True, help="The engine's log instead of the runner's.")
@click.option("--server", "of_server", is_flag=True, help="The server's log instead of the runner's.")
def logs(follow: bool, lines: int, of_engine: bool, of_server: bool) -> int:
    """Print the end of the runner's log."""
    from runner.config.logs import LOG_FILE, SERVER_LOG_FILE
    from runner.errors import UsageProblem

    if of_engine and of_server:
        raise UsageProblem("--engine and --server exclude each other.", hint="Leave one out.")
    path = current_instance().logs_dir / ("engine.log" if of_engine else SERVER_LOG_FILE if of_server else LOG_FILE)
    if not path.exists() and not follow:
        say(f"There is no log yet: {path.name} appears with the first start.")
        return OK
    position = _print_end(path, lines=lines)
    while follow:
        time.sleep(LOOK_S)
        position = _print_from(path, position)
    return OK


def _print_end(path: Path, *, lines: int) -> int:
    """Print the last lines; returns the place after them."""
    try:
        content = read_regular(path)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise storage_error(error, f"reading {path}") from error
    for line in content.decode("utf-8", "replace").splitlines()[-lines or len(content) :]:
        echo(line)
    return len(content)


def _print_from(path: Path, position: int) -> int:
    """Print what was added after a place; a log that was begun anew is printed from its start."""
    try:
        with open_regular(path) as file:
            position = 0 if file.seek(0, 2) < position else position
            file.seek(position)
            added = file.read()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise storage_error(error, f"reading {path}") from error
    whole = added[: added.rfind(b"\n") + 1]
    for line in whole.decode("utf-8", "replace").splitlines():
        echo(line)
    return position + len(whole)
