"""`voicejobs run`: the runner itself."""

from __future__ import annotations

import os
import signal

import click

from runner.cli.console import Command, current_instance, say


@click.command(
    cls=Command,
    examples=(
        "voicejobs run                       # until SIGTERM or Ctrl-C",
        "voicejobs run --once                # drain the inbox and exit, as from cron",
        "voicejobs --set model=draft run --once",
    ),
)
@click.option("--once", is_flag=True, help="Work until nothing is left to do, and exit.")
@click.option("--quiet", is_flag=True, help="Log to the instance's log file only.")
def run(once: bool, quiet: bool) -> int:
    """Take jobs from the inbox and work on them.

    One runner owns an instance; a second one exits with code 4 and says who holds it. With --once the exit code
    is 0 when every job is done, duplicate or cancelled, 1 when any is partial, failed or rejected, and 75 when
    work still waits. Without it, SIGTERM ends the runner with 0; a second Ctrl-C exits at once.
    """
    # Until the runner handles it: the first half second is imports. As with any kill, nothing is lost.
    before = signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        return _run(once=once, quiet=quiet)
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(*, once: bool, quiet: bool) -> int:
    from runner.cli.run import run_daemon, run_once
    from runner.config.logs import set_up_logging

    instance = current_instance()
    instance.own().release()  # a second runner is told so before anything else is said
    set_up_logging(instance, to_stderr=not quiet)
    if once:
        return run_once(instance)
    if not quiet:
        say(f"voicejobs watches {instance.inbox}; results appear in {instance.outbox}. Ctrl-C stops it.")
    return run_daemon(instance)
