"""`voicejobs voices check`: whether voices still sound as they did when they were locked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from runner.cli.console import Command, current_instance, echo, json_option, say, terminal_table, to_json
from runner.errors import UsageProblem
from runner.exit_codes import FAILED, NEEDS_ACTION, OK

if TYPE_CHECKING:
    from runner.cli.voice_check import VoiceReport

HEADINGS = ("VOICE", "SIMILARITY", "THEN", "CODES", "AUDIO", "SECONDS", "THEN", "")


@click.command(
    "check",
    cls=Command,
    examples=("voicejobs voices check elena@2", "voicejobs voices check --all     # after an update"),
)
@click.argument("voice", required=False)
@click.option("--all", "all_voices", is_flag=True, help="The current version of every voice.")
@json_option
def check(voice: str | None, all_voices: bool, as_json: bool) -> int:
    """Speak the audition of a version again, and compare it with the stored one.

    A voice has moved when its audition sounds less like its lock than before, or, for engines without a speaker
    encoder, otherwise at all. An engine process is started beside any runner. Exit code 1 when a voice has moved, 3
    when one could not be checked.
    """
    from registry.errors import NotFound
    from registry.registry import open_registry
    from runner.cli.voice_check import checked_voices

    if (voice is None) != all_voices:
        raise UsageProblem("Give either a voice or --all.")
    instance = current_instance()
    with open_registry(instance.state_dir, root=instance.root, reads_only=True) as registry:
        if voice is not None:
            wanted = [registry.show(voice)]
        else:
            listed = registry.voices(limit=1_000_000)
            wanted = [registry.show(found.name) for found in listed if found.current is not None]
    if not wanted:
        raise NotFound("There is no voice to check.")
    reports = list(checked_voices(instance, wanted))
    if as_json:
        echo(to_json(reports))
    else:
        _print(reports)
    if any(report.moved for report in reports):
        return FAILED
    return NEEDS_ACTION if any(report.problem for report in reports) else OK


def _print(reports: Sequence[VoiceReport]) -> None:
    rows = [
        (
            report.voice,
            *map(_shown, (report.similarity, report.similarity_then)),
            *(report.codes, report.audio),
            *map(_shown, (report.duration_s, report.duration_then_s)),
            "moved" if report.moved else "same",
        )
        for report in reports
        if not report.problem
    ]
    if rows:
        echo(terminal_table(HEADINGS, rows))
    for report in reports:
        if report.problem:
            say(f"{report.voice}: {report.problem} {report.hint}".strip())


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
