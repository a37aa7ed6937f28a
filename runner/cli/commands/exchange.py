"""`voicejobs voices import` and `voices export`: voices from and to other tools and machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.completion import voice_names
from runner.cli.console import Command, NamedPath, current_instance, echo, json_option, say, standard_output, to_json
from runner.exit_codes import FAILED, OK

if TYPE_CHECKING:
    from runner.cli.exchange_files import Outcome
    from runner.config.instance import Instance


@click.command(
    "import",
    cls=Command,
    examples=(
        "voicejobs voices import elena.vox",
        "voicejobs voices import elena-1.7b.cloneprompt --voice elena --consent self",
        "voicejobs voices import speaker.json --voice elena   # a speaker profile of OuteTTS",
        "voicejobs voices import ~/.diga            # every voice in diga's store",
    ),
)
@click.argument("path", type=NamedPath(), metavar="FILE|FOLDER")
@click.option("--voice", metavar="NAME", help="Its name here; default: its name in the file.")
@click.option("--consent", type=click.Choice(["self", "granted", "unknown"]), help="Whose voice it is.")
@click.option("--transcript", metavar="TEXT", help="The words spoken in a recording that comes without a transcript.")
@click.option("--model", metavar="MODEL", help="Model that locks a voice without a usable prompt.")
@click.option("--keep-current", is_flag=True, help="Do not move the alias `current`.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the jobs of the import.")
@json_option
def import_voice(path: Path, as_json: bool, no_wait: bool, keep_current: bool, **wishes: Any) -> int:
    """Import voices from .vox files, clone prompts, speaker profiles or a folder.

    A file without a usable clone prompt is locked from its recording, by a job. Importing a voice twice changes
    nothing. Nothing in the folder is changed.
    """
    from registry.registry import open_registry
    from runner.cli.exchange_files import REFUSED, Importer

    instance = current_instance()
    instance.prepare()
    with open_registry(instance.state_dir, root=instance.root) as registry:
        importer = Importer(instance=instance, registry=registry, set_current=not keep_current, **wishes)
        outcomes = list(importer.import_path(path))
    for outcome in outcomes:
        _talk(outcome)
    codes = [] if no_wait else [_wait(instance, outcome) for outcome in outcomes]
    if as_json:
        echo(to_json([_as_json(outcome) for outcome in outcomes]))
    else:
        for outcome in outcomes:
            if outcome.voice and outcome.error is None:
                echo(f"{outcome.status}\t{outcome.voice}")
    return FAILED if any(outcome.status == REFUSED for outcome in outcomes) else max(codes, default=OK)


def _talk(outcome: Outcome) -> None:
    for warning in outcome.warnings:
        say(f"{outcome.source}: {warning}")
    if outcome.error is not None:
        say(f"{outcome.source}: {outcome.error}")
    for job in outcome.jobs:
        say(f"{outcome.source}: dropped {job.path}")


def _wait(instance: Instance, outcome: Outcome) -> int:
    from runner.cli.progress import wait_with_progress

    worst = OK
    for job in outcome.jobs:
        finished = wait_with_progress(instance, job)
        worst = max(worst, finished.exit_code)
        if finished.error_text:
            say(f"{outcome.source}: {finished.error_text}")
    return worst


def _as_json(outcome: Outcome) -> dict[str, Any]:
    error = outcome.error
    return {
        "source": outcome.source,
        "status": outcome.status,
        "voice": outcome.voice,
        "versions": outcome.versions,
        "digest": outcome.digest,
        "warnings": outcome.warnings,
        "jobs": [job.path for job in outcome.jobs],
        "error": None if error is None else {"code": error.code, "message": error.message, "hint": error.hint},
    }


@click.command(
    "export",
    cls=Command,
    examples=(
        "voicejobs voices export elena -o elena.vox",
        "voicejobs voices export elena@2 -o elena.cloneprompt   # the bare prompt, for the Swift tools",
        "voicejobs voices export elena@3 -o elena.json   # the speaker profile, for OuteTTS",
    ),
)
@click.argument("voice", metavar="NAME[@N]", shell_complete=voice_names)
@click.option(
    "-o",
    "--output",
    type=NamedPath(to_write=True),
    metavar="FILE",
    help="File to write; default: NAME.vox here; - is stdout.",
)
@json_option
def export_voice(voice: str, output: Path | None, as_json: bool) -> None:
    """Write a voice to a .vox file.

    A cloned voice is exported only with the consent `self` or `granted`.
    """
    from registry.registry import open_registry
    from runner.cli.exchange_files import export_to, exported

    instance = current_instance()
    instance.prepare()
    with open_registry(instance.state_dir, root=instance.root, reads_only=True) as registry:
        if str(output) == "-":
            found = exported(registry, voice)
            standard_output().write(found.content)
            path = None
        else:
            found, path = export_to(registry, voice, output)
    for warning in found.warnings:
        say(warning)
    if as_json and path is not None:
        digest = f"sha256:{found.version.digest}"
        echo(to_json({"file": path, "voice": found.version.name, "digest": digest}))
    elif path is not None:
        echo(path)
