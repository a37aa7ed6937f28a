"""`voicejobs submit`: a job file into the inbox, and if wanted the wait for its result."""

from __future__ import annotations

import sys

import click

from runner.cli.console import (
    NO_RUNNER,
    Command,
    current_instance,
    has_terminal,
    json_option,
    say,
    to_json,
    warn_of_unheard_settings,
)
from runner.cli.progress import ProgressLine


@click.command(
    cls=Command,
    examples=(
        "voicejobs submit hello.toml",
        "voicejobs submit --wait scene.toml          # shows progress; the exit code is the job's",
        "voicejobs submit examples/audiobook         # a folder: its job file and what that names",
        "generate-lines | voicejobs submit --name scene-4 -",
    ),
)
@click.argument("file", metavar="FILE")
@click.option("--wait", is_flag=True, help="Wait for the result; runs the instance if no runner does.")
@click.option("--name", metavar="NAME", help="Drop it under this name, which names a job without an id.")
@json_option
def submit(file: str, wait: bool, name: str | None, as_json: bool) -> int:
    """Drop a job file, with the files it names, into the inbox; - reads standard input.

    The file is checked first, and nothing is dropped when it is wrong. With --wait the exit code says how the
    job ended: 0 done, duplicate or cancelled, 1 partial, failed or rejected.
    """
    from pathlib import Path

    from runner.cli.check import read_job
    from runner.cli.submit import submit_job, wait_for

    instance = current_instance()
    warn_of_unheard_settings(instance)
    job = read_job(file, stdin=sys.stdin.buffer)
    if name is None and Path(file).is_dir():
        name = Path(file).resolve().name  # a folder names its job
    suffix = Path(job.file_name).suffix
    submitted = submit_job(instance, job, name=f"{name}{suffix}" if name else None)
    if not wait:
        if as_json:
            click.echo(to_json({"dropped": submitted.path, "kind": job.spec.kind}))
        else:
            say(f"dropped {submitted.path}")
            if not instance.runner_is_active():
                say(NO_RUNNER)
        return 0
    with ProgressLine(enabled=has_terminal()) as line:
        finished = wait_for(instance, submitted, on_progress=line.update)
    if as_json:
        click.echo(to_json(finished.receipt))
        return finished.exit_code
    say(f"{finished.job}: {finished.status}")
    if error := finished.receipt.get("error"):
        say(f"{error['message']} {error.get('hint', '')}".strip())
    for path in sorted(finished.folder.glob("*")):
        click.echo(path)
    return finished.exit_code
