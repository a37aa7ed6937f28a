"""`voicejobs say`: a text spoken, with the flags that `say` of macOS and `diga` have in common."""

from __future__ import annotations

import sys
from typing import Any

import click

from models.named_paths import named_path, read_named, shown_path
from runner.cli.console import (
    Command,
    NamedPath,
    current_instance,
    echo,
    standard_input,
    standard_output,
    warn_of_unheard_settings,
)
from runner.errors import UsageProblem
from runner.exit_codes import OK, USAGE

MAX_TEXT_BYTES = 4 << 20
LIST = "?"


@click.command(
    cls=Command,
    examples=(
        'voicejobs say "Hello." -v elena',
        "voicejobs say -f chapter.txt -v elena@2 -o chapter.m4a",
        "echo Hello. | voicejobs say -o hello.wav     # standard input, from a pipe",
        "voicejobs say -v ?                           # lists all voices",
    ),
)
@click.argument("text", nargs=-1)
@click.option("-f", "--file", "--input-file", "file", metavar="FILE", help="Speak this file; - is standard input.")
@click.option("-v", "--voice", metavar="NAME|FILE.vox|?", help="A voice, a preset or a voice file; ? lists them.")
@click.option(
    "-o",
    "--output",
    "--output-file",
    type=NamedPath(to_write=True),
    metavar="FILE",
    help="Write a file instead of playing; - is standard output.",
)
@click.option(
    "--file-format", "format", metavar="FORMAT", help="wav, aiff, flac, mp3, ogg or m4a; default: by the file's name."
)
@click.option("--model", metavar="MODEL", help="Short name, repository or folder.")
@click.option("--language", metavar="LANGUAGE", help="en, pt-BR, japanese, …")
@click.option("--instruct", metavar="TEXT", help="How it is spoken: whispering, …")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), metavar="N", help="The same seed gives the same reading.")
@click.option("--voices", "list_voices", is_flag=True, help="List the voices.")
@click.pass_context
def say(ctx: click.Context, /, text: tuple[str, ...], file: str | None, list_voices: bool, **how: Any) -> int:
    """Speak a text, as the say command of macOS does.

    Prints nothing unless something is wrong. Plays the audio unless there is -o; runs the instance itself if no
    runner is active.
    """
    from runner.cli import speak

    if list_voices or how["voice"] == LIST:
        instance = current_instance()
        instance.prepare()
        echo(speak.listing(instance))
        return OK
    if not text and file is None and sys.stdin is not None and sys.stdin.isatty():
        click.echo(ctx.get_help())
        return USAGE
    instance = current_instance()
    warn_of_unheard_settings(instance)
    content = speak.say(instance, speak.SayRequest(text=_text(text, file), **how))
    if content is not None:
        standard_output().write(content)
    return OK


def _text(words: tuple[str, ...], file: str | None) -> str:
    if words and file is not None:
        raise UsageProblem("Give either a text or -f FILE, not both.")
    if words:
        return " ".join(words)
    if file in (None, "-"):
        return _decoded(standard_input().read(MAX_TEXT_BYTES + 1), "standard input")
    assert file is not None
    return _decoded(read_named(named_path(file), limit_bytes=MAX_TEXT_BYTES), shown_path(file))


def _decoded(content: bytes, name: str) -> str:
    if len(content) > MAX_TEXT_BYTES:
        raise UsageProblem(f"{name} has more than {MAX_TEXT_BYTES:,} bytes of text.", hint="Write a job file instead.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageProblem(f"{name} is not UTF-8 (byte {error.start}).") from None
