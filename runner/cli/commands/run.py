"""`voicejobs check`, `schema` and `run`: job files checked, and worked on."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

import click

from runner.cli.console import (
    Command,
    complain,
    current_instance,
    echo,
    instance_or_defaults,
    json_option,
    say,
    show,
    standard_input,
    to_json,
)
from runner.errors import UsageProblem
from runner.exit_codes import FAILED, OK
from runner.text_format import counted, span

if TYPE_CHECKING:
    from runner.submission.checked_job import Verdict


@click.command(
    cls=Command,
    examples=("voicejobs check hello.toml", "voicejobs check examples/*.toml", "voicejobs check --json - < hello.json"),
)
@click.argument("files", metavar="FILE…", nargs=-1, required=True)
@json_option
def check(files: tuple[str, ...], as_json: bool) -> int:
    """Check job files without running them; - reads standard input.

    The files that a job names must be there, too. Exit code 1 when a job file is wrong.
    """
    from runner.submission.checked_job import check_file

    instance = instance_or_defaults()
    verdicts = [check_file(name, instance=instance, stdin=standard_input) for name in files]
    if as_json:
        echo(to_json(verdicts))
    else:
        for verdict in verdicts:
            good = f"{verdict.file}: ok, {_kind_text(verdict.kind)}{_length_text(verdict)}"
            said = [f"  {sentence}" for sentence in (*verdict.warnings, *verdict.downloads)]
            say("\n".join(verdict.problems or [good, *said]))
            if verdict.hint:
                say(f"  {verdict.hint}")
    return FAILED if any(verdict.problems for verdict in verdicts) else OK


def _length_text(verdict: Verdict) -> str:
    """` of 412 lines, about 38 min of speech, about 2 h here`"""
    if verdict.lines is None:
        return ""
    audio = f", about {span(verdict.audio_s)} of speech" if verdict.audio_s else ""
    here = f", about {span(verdict.render_s)} here" if verdict.render_s is not None else ""
    return f" of {counted(verdict.lines, 'line')}{audio}{here}"


def _kind_text(kind: str | None) -> str:
    return f"{'an' if kind in ('export', 'import') else 'a'} {kind} job"


@click.command(cls=Command, examples=("voicejobs schema > job.schema.json",))
def schema() -> None:
    """Print the JSON Schema of job files, TOML and JSON alike."""
    from runner.jobfile.parse import job_schema

    show(job_schema(), as_json=True, text=str)


@click.command(
    cls=Command,
    examples=(
        "voicejobs run                       # until SIGTERM or Ctrl-C",
        "voicejobs run --once                # drain the inbox and exit, as from cron",
        "voicejobs --set model=draft run --once",
    ),
)
@click.option("--once", is_flag=True, help="Work until nothing is left to do, then exit.")
@click.option("--quiet", is_flag=True, help="Log only to the instance's log file.")
@click.option("--service", is_flag=True, help="For systemd and launchd: after an error, say it and try again.")
def run(once: bool, quiet: bool, service: bool) -> int:
    """Take jobs from the inbox and work on them.

    An instance has one runner; a second one exits with code 4 and names the first. With --once the exit code is 0
    when every job is done, duplicate or cancelled, 1 when any is partial, failed or rejected, and 75 when work
    still waits. Without it, SIGTERM, and SIGHUP, end the runner with 0; a second Ctrl-C exits at once. Settings are
    read at the start: to have changes heeded, restart it. With --service a wrong setting, an absent disk or another
    runner does not end it: it says so, and starts when that is corrected.
    """
    if once and service:
        raise UsageProblem("--once and --service exclude each other.", hint="Leave one out.")
    from runner.cli.run import run_service

    start = functools.partial(_run, once=once, quiet=quiet)
    return run_service(start, tell=complain) if service else start()


def _run(*, once: bool, quiet: bool) -> int:
    from runner.cli.live_line import line_below_log
    from runner.cli.run import run_daemon, run_once
    from runner.config.logs import set_up_logging

    instance = current_instance()
    instance.own().release()  # fails first when there is another runner
    if not quiet and not once:
        say(f"voicejobs is watching {instance.inbox}; results appear in {instance.outbox}. Ctrl-C stops it.")
    with contextlib.nullcontext() if quiet else line_below_log(instance) as terminal:
        set_up_logging(instance, to_stderr=not quiet, terminal=terminal)
        return run_once(instance) if once else run_daemon(instance)
