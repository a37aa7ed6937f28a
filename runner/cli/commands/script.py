"""`voicejobs script check` and `choose`: who speaks in a book or screenplay, and with which voice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from models.named_paths import named_path
from runner.cli.completion import job_names
from runner.cli.console import (
    Command,
    LazyGroup,
    NamedPath,
    current_instance,
    echo,
    json_option,
    say,
    standard_input,
    to_json,
)
from runner.exit_codes import FAILED, OK
from runner.text_format import counted, span


@click.group(
    cls=LazyGroup, examples=("voicejobs script check book.epub", "voicejobs script choose night-train ELENA 2")
)
def script() -> None:
    """Check books and screenplays, and choose their voices."""


@script.command(
    cls=Command,
    examples=(
        "voicejobs script check night-train.fountain",
        "voicejobs script check night-train.toml --emit cast.toml   # then edit it, and name it as `cast`",
    ),
)
@click.argument("file", metavar="FILE")
@click.option("--emit", type=NamedPath(), metavar="OUT", help="Write the cast to OUT, to be edited.")
@json_option
def check(file: str, emit: Path | None, as_json: bool) -> int:
    """Show who speaks in a source or a script's job file, and how long it will take; nothing is made.

    Exit code 1 when the source is refused.
    """
    from runner.output_files import write_target
    from runner.script.errors import SourceRefused
    from runner.submission.checked_script import check_script

    instance = current_instance()
    try:
        found = check_script(instance, file, stdin=standard_input)
    except SourceRefused as error:
        say(f"{file}: {error.message}")
        if error.hint:
            say(f"  {error.hint}")
        return FAILED
    if emit is not None:
        write_target(emit, found.cast_toml.encode())
        say(f"wrote {emit}")
    if as_json:
        echo(to_json(found.to_json()))
        return OK
    for line in _shown(found.to_json()):
        echo(line)
    return OK


def _shown(found: dict[str, Any]) -> list[str]:
    script, cast, estimate = found["script"], found["cast"], found["estimate"]
    spoken = [line for line in script["lines"] if line["spoken"]]
    title = " by ".join(filter(None, (script["title"], script["author"]))) or script["source"]["file"]
    lines = [f"{title}: {counted(len(script['chapters']), 'chapter')}, {counted(len(spoken), 'line')} to speak"]
    narrated = sum(line["speaker"] is None for line in spoken)
    lines.append(
        f"  {'narrator':24} {counted(narrated, 'line'):>12}  {span(found['narrator_s']):>8}  {found['narrator']}"
    )
    for part in cast:
        shares = f" (shared with {part['shares']})" if part["shares"] else ""
        count = counted(part["lines"], "line")
        lines.append(f"  {part['name'][:24]:24} {count:>12}  {span(part['audio_s']):>8}  {part['voice']}{shares}")
    takes = f", about {span(estimate['render_s'])} on this machine" if estimate["render_s"] is not None else ""
    lines.append(f"about {span(estimate['audio_s'])} of speech{takes}")
    return [*lines, *(f"warning: {warning}" for warning in found["warnings"])]


@script.command(
    cls=Command,
    examples=("voicejobs script choose night-train ELENA 2",),
)
@click.argument("job", metavar="JOB", shell_complete=job_names)
@click.argument("part", metavar="PART")
@click.argument("candidate", metavar="N", type=click.IntRange(min=1))
def choose(job: str, part: str, candidate: int) -> int:
    """Give PART of the script JOB its candidate N; it drops a cast file, which the runner acts upon.

    PART is a name in any case, or its form in names of jobs. Exit code 3 for a job or part that is not known.
    """
    from runner.submission.checked_script import choice_for
    from runner.submission.drop_writer import submit_job

    instance = current_instance()
    chosen = choice_for(instance, job, part, candidate)
    submitted = submit_job(instance, chosen.job, name=chosen.drop_name)
    say(f"{chosen.part}: candidate {candidate}; dropped {named_path(str(submitted.path)).name}")
    return OK
