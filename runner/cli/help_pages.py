"""The command line → docs/commands.md: the help of every command. `python -m runner.cli.help_pages` prints it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from runner.cli.console import HELP_WIDTH
from runner.cli.program import voicejobs

HEAD = """\
# Commands

Made by `python -m runner.cli.help_pages > docs/commands.md`; a test holds that it is up to date.
"""


def help_pages() -> str:
    """The whole page."""
    parts = [HEAD]
    for path, command in commands(voicejobs):
        name = " ".join(("voicejobs", *path))
        context = click.Context(
            command,
            info_name=name,
            terminal_width=HELP_WIDTH,
            max_content_width=HELP_WIDTH,
            color=False,
            help_option_names=["-h", "--help"],
        )
        parts.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below `command`, itself included, in the order of their listing."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from commands(inner, (*path, name))


if __name__ == "__main__":
    click.echo(help_pages(), nl=False)
