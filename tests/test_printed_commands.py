"""Every command that messages, help and docs print is one of the command line, with options and arguments that fit."""

import click
import pytest

from runner.cli.program import voicejobs
from tests.printed_commands import Printed, documents, examples, messages, unmarked

EVERY = [("message", one) for one in messages()]
EVERY += [("example", one) for one in examples()]
EVERY += [("document", one) for one in documents()]


def parse(group: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """Parse the words as the command line would, and call nothing."""
    with group.make_context("voicejobs", list(words), parent=parent, obj={}) as context:
        if isinstance(group, click.Group):
            _, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
            assert command is not None
            parse(command, rest, context)


@pytest.mark.parametrize(("kind", "printed"), EVERY, ids=lambda value: str(getattr(value, "place", value)))
def test_every_printed_command_fits_the_command_line(kind, printed: Printed):
    if kind == "document" and set("[…|]") & set(printed.text):
        pytest.skip("the shape of several commands")
    try:
        parse(voicejobs, printed.words)
    except click.exceptions.Exit:
        assert "--help" in printed.words
    except click.MissingParameter:
        assert printed.is_inline and not any(word.startswith("-") for word in printed.words)


def test_a_command_in_a_message_is_between_backticks_so_that_it_gets_the_flags_given():
    assert list(unmarked()) == []
