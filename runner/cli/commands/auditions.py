"""`voicejobs jobs play`, `jobs open` and `voices lock`: what was spoken is heard, and a candidate is chosen."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.errors import NotFound
from runner.cli.completion import job_names
from runner.cli.console import Command, current_instance, echo, say
from runner.exit_codes import NEEDS_ACTION, OK
from runner.text_format import counted

if TYPE_CHECKING:
    from registry.jobs.values import Job
    from registry.storage.session import Session

DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


class NotSpoken(NotFound):
    code = "not-spoken"


@click.command(
    cls=Command,
    examples=("voicejobs jobs play elena-design 2", "voicejobs jobs play scene-4", "voicejobs jobs play scene-4 17"),
)
@click.argument("job", shell_complete=job_names)
@click.argument("number", metavar="[N]", required=False, type=click.IntRange(min=1))
def play(job: str, number: int | None) -> None:
    """Play the track of a job, a line, or candidates.

    N counts lines, or the candidates of a design; without it the track is played, or one candidate after the other.
    """
    from models.audio.encoder import encode_audio
    from models.audio.files import decode_audio
    from registry.jobs.jobs import by_name
    from runner.cli.commands.jobs import open_ledger
    from runner.cli.player import find_player, play_wav
    from runner.outbox.outbox import Outbox

    instance, player = current_instance(), find_player()
    with open_ledger(reads_only=True) as database, database.read() as snapshot:
        found = by_name(snapshot, job)
        files = _sounds_of(snapshot, found, number)
    outbox = Outbox(instance.outbox)
    for file in files:
        try:
            content = outbox.read(found.name, file)
        except OSError as error:
            hint = f"`voicejobs jobs retry {found.name}` makes it again."
            raise NotSpoken(f"{instance.outbox / found.name / file} cannot be read.", hint=hint) from error
        say(file)
        play_wav(encode_audio(decode_audio(content, name=file)[0]), player=player)


def _sounds_of(session: Session, job: Job, number: int | None) -> list[str]:
    """Names of the files to be played. Raises NotSpoken."""
    from registry.jobs.lines import at, published_files
    from registry.jobs.lists import line_counts
    from registry.jobs.values import LineStatus

    thing = "candidate" if job.kind == "design" else "line"
    if number is not None:
        line = at(session, job.id, number)
        if line is None or line.status != LineStatus.PUBLISHED or line.request.is_pause:
            said = counted(line_counts(session, job.id).total, thing)
            hint = f"`voicejobs jobs show {job.name}` lists them."
            raise NotSpoken(f"{thing.capitalize()} {number} of {job.name!r} is not spoken; it has {said}.", hint=hint)
        return [line.file]
    files = [str(file) for file in _whole_of(job)] or published_files(session, job.id)
    if not files:
        raise NotSpoken(f"The job {job.name!r} has nothing to hear.", hint=f"It is {job.status}.")
    return files


def _whole_of(job: Job) -> list[str]:
    """The track of a job, or the clip of one that locked a voice."""
    track = job.facts.get("track")
    return (
        [track["file"]] if track else [entry["file"] for entry in job.facts.get("files", ()) if entry.get("duration_s")]
    )


@click.command("open", cls=Command, examples=("voicejobs jobs open scene-4",))
@click.argument("job", shell_complete=job_names)
def open_(job: str) -> int:
    """Open a job's folder in the outbox, on a desktop.

    Exit code 3 where there is none.
    """
    from registry.jobs.jobs import by_name
    from registry.jobs.requests import HAVE_FILES
    from registry.jobs.values import OPEN_STATUSES, RETRYABLE_STATUSES
    from runner.cli.commands.jobs import open_ledger

    with open_ledger(reads_only=True) as database, database.read() as snapshot:
        found = by_name(snapshot, job)
    folder = current_instance().outbox / found.name
    if not folder.is_dir():
        hint = "Drop its job file again for a new run."
        if found.status in OPEN_STATUSES:
            hint = f"The job is {found.status}."
        elif found.kind in HAVE_FILES or found.status in RETRYABLE_STATUSES:
            hint = f"`voicejobs jobs retry {found.name}` makes its files again."
        raise NotFound(f"There is no folder {folder}.", hint=hint)
    echo(folder)
    has_desktop = sys.platform != "linux" or any(os.environ.get(name) for name in DISPLAYS)
    if has_desktop and click.launch(str(folder)) == 0:
        return OK
    say("There is no desktop here that could show it.")
    return NEEDS_ACTION


@click.command(
    cls=Command,
    examples=("voicejobs voices lock elena --from elena-design 2", "voicejobs voices lock elena --from look 1 --wait"),
)
@click.argument("name")
@click.option(
    "--from", "source", required=True, metavar="JOB N", type=(str, click.IntRange(min=1)), help="Candidate N of JOB."
)
@click.option("--wait", is_flag=True, help="Wait for the version; runs the instance if no runner is active.")
def lock(name: str, source: tuple[str, int], wait: bool) -> int:
    """Lock a candidate of a design job as a version of a voice.

    The job file that does it is printed, and dropped into the inbox.
    """
    from runner.cli.progress import drop_version
    from runner.submission.drop_writer import job_from_values

    instance = current_instance()
    design, candidate = source
    _require_design(design)
    values = {"kind": "lock", "voice": name, "from": {"job": design, "candidate": candidate}}
    job = job_from_values(values, name=f"{name}-lock", folder=Path.cwd())
    echo(job.content.decode().rstrip())
    return drop_version(instance, job, wait=wait)


def _require_design(name: str) -> None:
    """Raise JobNotFound for a job that nobody knows, with the nearest names; a pruned one may have left candidates."""
    from registry.jobs.jobs import by_name
    from registry.voices.candidates import find_candidates
    from runner.cli.commands.jobs import open_ledger

    with open_ledger(reads_only=True) as database, database.read() as snapshot:
        if not find_candidates(snapshot, name):
            by_name(snapshot, name)
