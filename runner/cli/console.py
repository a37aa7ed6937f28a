"""Classes and functions that all commands share: groups, options, and printing of data (stdout) and messages (stderr).

Imports click and nothing heavy: `--help` must answer at once.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from runner.errors import UsageProblem
from runner.text_format import NARROWEST, printable, table

if TYPE_CHECKING:
    from registry.errors import VoiceJobsError
    from runner.config.instance import Instance

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
HELP_WIDTH = 100
NO_RUNNER = "No runner is active; work continues when one starts: `voicejobs run`."


class Command(click.Command):
    """Command with `--root`, and with examples below its help."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.params.append(_root_option())

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        _write_examples(self.examples, formatter)


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class NamedPath(click.Path):
    """Path that a person names, checked and with its home folder found; `-` stays what it is."""

    def __init__(self, *, to_write: bool = False) -> None:
        super().__init__(path_type=Path)
        self.to_write = to_write

    def convert(self, value: Any, *_: Any) -> Path:
        from models.named_paths import named_path, shown_path

        path = value if isinstance(value, Path) else named_path(value)
        if self.to_write and not isinstance(value, Path) and value.endswith("/"):
            raise UsageProblem(f"{shown_path(value)} names a folder.", hint="Name the file to write.")
        return path


def _root_option() -> click.Option:
    def remember(ctx: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
        if value is not None:
            globals_of(ctx)["root"] = value

    return click.Option(
        ["--root"],
        type=NamedPath(),
        metavar="DIR",
        expose_value=False,
        callback=remember,
        help="Folder of the instance; default: VOICEJOBS_ROOT, else found upward from here.",
    )


class LazyGroup(click.Group):
    """Group whose commands are imported when they are called; `table` holds their one-line help."""

    def __init__(
        self,
        *args: Any,
        table: Mapping[str, tuple[str, str]] | None = None,
        examples: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        """`table`: name → ("module:attribute", short help)."""
        super().__init__(*args, **kwargs)
        self.table, self.examples = dict(table or {}), tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        _write_examples(self.examples, formatter)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.table, *(name for name in super().list_commands(ctx) if name not in self.table)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return super().get_command(ctx, cmd_name)
        module_name, _, attribute = self.table[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module_name), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from registry.errors import nearest

            near = nearest(args[0], self.list_commands(ctx), limit=1)
            if not near or "Did you mean" in error.message:
                raise
            raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name in self.list_commands(ctx):
            if name in self.table:
                rows.append((name, self.table[name][1]))
            elif (command := self.get_command(ctx, name)) is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(HELP_WIDTH)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def json_option(function: Decorated) -> Decorated:
    """Add `--json` to a command: its data as one JSON document."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def globals_of(ctx: click.Context) -> dict[str, Any]:
    """Values of the options before the command."""
    found: dict[str, Any] = ctx.find_root().ensure_object(dict)
    return found


def current_instance() -> Instance:
    """Instance that this command line is about. Raises InstanceNotFound and SettingsInvalid."""
    from runner.config.instance import open_instance

    given = globals_of(click.get_current_context())
    return open_instance(given.get("root"), flags=given.get("settings"))


def instance_or_defaults() -> Instance:
    """Instance that this command line is about; where there is none, one with the default settings, here."""
    from runner.config.instance import Instance
    from runner.config.settings import Settings
    from runner.errors import InstanceNotFound

    try:
        return current_instance()
    except InstanceNotFound:
        return Instance(Path.cwd(), Settings())


def warn_of_unheard_settings(instance: Instance) -> None:
    """Warn that `--set` has no effect on a runner that is active already."""
    if globals_of(click.get_current_context()).get("settings") and instance.runner_is_active():
        say("warning: the active runner has its own settings; --set does not change them")


# ---- printing ----------------------------------------------------------------------------------------------------


def show(value: Any, *, as_json: bool, text: Callable[[Any], str]) -> None:
    """Print `value` as JSON, or as `text` formats it."""
    content = to_json(value) if as_json else text(value)
    if content:
        echo(content)


def echo(result: str | Path) -> None:
    """Print a result on stdout, without what a terminal would obey."""
    click.echo(printable(str(result)))


def to_json(value: Any) -> str:
    """JSON text of a value, which may hold dataclasses, paths, bytes and sets."""
    return json.dumps(value, default=_plain, indent=2, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def say(message: str, *, given: Mapping[str, Any] | None = None) -> None:
    """Print a message on stderr, its commands with the flags that reach the same instance."""
    click.echo(printable(reachable(message, given=given)), err=True)


def complain(error: VoiceJobsError, *, given: Mapping[str, Any] | None = None) -> int:
    """Print an error and its hint on stderr; returns its exit code."""
    from runner.exit_codes import exit_code_for
    from runner.redaction import redact

    say(f"voicejobs: {redact(error.message)}", given=given)
    if error.hint:
        say(f"  {redact(error.hint)}", given=given)
    return exit_code_for(error)


def reachable(message: str, *, given: Mapping[str, Any] | None = None) -> str:
    """Message whose commands have the flags that this command line was given; `given` where no command is active."""
    if "`voicejobs " not in message:
        return message
    from runner.config.printed_commands import flags_to_reach, with_flags

    context = click.get_current_context(silent=True)
    given = (globals_of(context) if context else {}) if given is None else given
    return with_flags(message, flags_to_reach(given.get("root"), given.get("settings")))


def standard_input() -> BinaryIO:
    """Bytes of standard input. Raises UsageProblem when the parent process has closed it."""
    if sys.stdin is None:
        raise UsageProblem("Standard input is closed.", hint="Name a file instead of -.")
    return sys.stdin.buffer


def standard_output() -> BinaryIO:
    """Standard output for bytes. Raises UsageProblem when the parent process has closed it."""
    if sys.stdout is None:
        raise UsageProblem("Standard output is closed.", hint="Name a file to write with -o.")
    return sys.stdout.buffer


def terminal_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Table for stdout: on a terminal the last column is cut at its edge."""
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    return table(headings, rows, columns=shutil.get_terminal_size().columns if on_terminal else None)


def wrapped(text: str, *, indent: int) -> str:
    """Text for stdout: on a terminal broken between words, with its further rows indented; as it is elsewhere."""
    if sys.stdout is None or not sys.stdout.isatty():
        return text
    width = max(shutil.get_terminal_size().columns, NARROWEST)
    return textwrap.fill(
        text,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


def wants_colour() -> bool | None:
    """False when NO_COLOR is set; None lets click decide by the terminal."""
    return False if os.environ.get("NO_COLOR") else None
