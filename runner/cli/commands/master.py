"""`voicejobs master check`: audio files → their levels, and whether they keep a preset's rules."""

from __future__ import annotations

from typing import Any

import click

from runner.cli.console import Command, LazyGroup, echo, json_option, say, to_json
from runner.exit_codes import FAILED, OK
from runner.text_format import counted, span

PRESETS = ("acx", "ebu", "podcast", "audiobook", "none")


@click.group(cls=LazyGroup, examples=("voicejobs master check outbox/book.master/*.mp3 --preset acx",))
def master() -> None:
    """Measure finished audio against the rules of distributors."""


@master.command(
    cls=Command,
    examples=(
        "voicejobs master check chapter-1.mp3 chapter-2.mp3 --preset acx",
        "voicejobs master check book.m4b --json",
    ),
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--preset", type=click.Choice(PRESETS), default="audiobook", show_default=True, help="Whose rules they must keep."
)
@json_option
def check(files: tuple[str, ...], preset: str, as_json: bool) -> int:
    """Measure audio FILEs, and say which rules of a preset they keep.

    Exit code 1 when a rule is broken or a FILE is no audio, 3 when there is no such FILE.
    """
    from models.named_paths import named_path
    from runner.master.checked import check_files

    checked = check_files([named_path(file) for file in files], preset=preset)
    for problem in checked.problems:
        say(f"{problem.message} {problem.hint}".rstrip())
    if as_json:
        echo(to_json({"files": checked.files}))
    else:
        for number, file in enumerate(checked.files):
            for line in (*([""] if number else []), *_shown(file)):
                echo(line)
    return OK if checked.passed else FAILED


def _shown(file: dict[str, Any]) -> list[str]:
    from runner.master.presets import limit_text

    channels = "mono" if file["channels"] == 1 else counted(file["channels"], "channel")
    form = f"{file['sample_rate_hz']} Hz, {channels}"
    rate = f"{file['bit_rate_kbps']:g} kbit/s{' constant' if file['constant_rate'] else ''}"
    lines = [f"{file['file']}: {span(file['duration_s'])}, {form}, {rate}"]
    lufs = "silent" if file["integrated_lufs"] is None else f"{file['integrated_lufs']:.1f} LUFS"
    lines.append(
        f"  {lufs}, {file['rms_db']:.1f} dB RMS, peak {file['peak_db']:.1f} dB, "
        f"true peak {file['true_peak_db']:.1f} dB, noise floor {file['noise_floor_db']:.1f} dB, "
        f"silence {file['head_s']:.2f} s before and {file['tail_s']:.2f} s after"
    )
    for rule in file["rules"]:
        verdict = "ok  " if rule["passed"] else "FAIL"
        lines.append(f"  {verdict} {rule['rule']:14} {_value(rule['value']):>10}   {limit_text(rule['limit'])}")
    return lines


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}"
