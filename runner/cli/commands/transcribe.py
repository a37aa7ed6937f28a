"""`voicejobs transcribe`: what is said in a recording, as text or captions."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli.console import Command, NamedPath, current_instance, echo, json_option, say, warn_of_unheard_settings


@click.command(
    cls=Command,
    examples=(
        "voicejobs transcribe memo.wav",
        "voicejobs transcribe interview.m4a --format srt > interview.srt",
        "voicejobs transcribe memo.wav --json        # with the time of each word",
    ),
)
@click.argument("file", type=NamedPath(), metavar="FILE")
@click.option("--language", metavar="LANGUAGE", help="en, pt-BR, japanese, …; default: that of voicejobs.toml.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("txt", "srt", "vtt")),
    default="txt",
    show_default=True,
    help="A phrase a row, or captions.",
)
@json_option
def transcribe(file: Path, language: str | None, form: str, as_json: bool) -> None:
    """Write down what is said in a recording.

    The recogniser is that of voicejobs.toml. Recordings may last six hours, and have any format that locks take. Runs
    the instance itself if no runner is active.
    """
    from runner.cli.transcribe import transcribe as heard

    instance = current_instance()
    warn_of_unheard_settings(instance)
    text, warnings = heard(instance, file, language=language, form="json" if as_json else form)
    if warnings:
        say("\n".join(warnings))
    echo(text)
