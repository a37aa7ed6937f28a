"""How the command line talks: data on stdout, everything else on stderr; and what its commands have in common.

Imports click and nothing heavy: `--help` must answer at once.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from runner.config.instance import Instance

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
HELP_WIDTH = 100
LEAST_LAST_COLUMN = 20
NO_RUNNER = "No runner is active; work goes on when one starts: voicejobs run"


class Command(click.Command):
    """A command with `--root`, and with examples under its help."""

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


def _root_option() -> click.Option:
    def remember(ctx: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
        if value is not None:
            globals_of(ctx)["root"] = value

    return click.Option(
        ["--root"],
        type=click.Path(path_type=Path),
        metavar="DIR",
        expose_value=False,
        callback=remember,
        help="The instance; else VOICEJOBS_ROOT, else found upward from here.",
    )


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called; their one-line help stands in the table."""

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
        ours = [name for name, (target, _) in self.table.items() if _exists(target.partition(":")[0])]
        return [*ours, *(name for name in super().list_commands(ctx) if name not in self.table)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return super().get_command(ctx, cmd_name)
        module_name, _, attribute = self.table[cmd_name][0].partition(":")
        if not _exists(module_name):
            return None
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


def _exists(module_name: str) -> bool:
    try:
        return importlib.util.find_spec(module_name) is not None
    except ModuleNotFoundError:
        return False


def json_option(function: Decorated) -> Decorated:
    """`--json`: the command's data as one JSON document."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def globals_of(ctx: click.Context) -> dict[str, Any]:
    """What the options before the command said."""
    found: dict[str, Any] = ctx.find_root().ensure_object(dict)
    return found


def current_instance() -> Instance:
    """The instance this command line is about. Raises InstanceNotFound and SettingsInvalid."""
    from runner.config.instance import open_instance

    given = globals_of(click.get_current_context())
    return open_instance(given.get("root"), flags=given.get("settings"))


def warn_of_unheard_settings(instance: Instance) -> None:
    """What `--set` says holds in this process; where another one does the work, it is not heard."""
    if globals_of(click.get_current_context()).get("settings") and instance.runner_is_active():
        say("warning: the runner that is active has its own settings; --set is not heard there")


# ---- printing ----------------------------------------------------------------------------------------------------


def show(value: Any, *, as_json: bool, text: Callable[[Any], str]) -> None:
    """Print `value`: as JSON, or as `text` says it."""
    content = to_json(value) if as_json else text(value)
    if content:
        click.echo(content)


def to_json(value: Any) -> str:
    """Dataclasses, paths, bytes and tuples included."""
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


def say(message: str) -> None:
    """Talk: a line on stderr."""
    click.echo(message, err=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns, as wide as their widest cell; the last one runs free, and on a terminal to its edge."""
    lines = [[str(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(columns_of(line[column]) for line in lines) for column in range(len(headings))]
    if sys.stdout is not None and sys.stdout.isatty():
        room = shutil.get_terminal_size().columns - sum(width + 2 for width in widths[:-1])
        lines = [[*line[:-1], short(line[-1], max(room, LEAST_LAST_COLUMN))] for line in lines]
    return "\n".join(
        "  ".join(cell + " " * (width - columns_of(cell)) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes: letters of East Asia take two, accents by themselves none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) != 0 for character in text)


def counted(number: int, thing: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def ago(then_s: float | None, *, now_s: float | None = None) -> str:
    """`3 min` since a time of day."""
    if then_s is None:
        return "-"
    return span(max(0.0, (time.time() if now_s is None else now_s) - then_s))


def span(seconds: float | None) -> str:
    """A length of time in its largest fitting unit."""
    if seconds is None:
        return "-"
    for unit, size_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def when(then_s: float | None) -> str:
    """A time of day in the local zone."""
    return "-" if then_s is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(then_s))


def size(size_bytes: float) -> str:
    """`1.5 GB`, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size_bytes) < 1000 or unit == "TB":
            break
        size_bytes /= 1000
    return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"


def short(text: str | None, width: int = 50) -> str:
    """One line of at most `width` characters."""
    line = " ".join((text or "").split())
    return line if len(line) <= width else line[: width - 1] + "…"


def has_terminal() -> bool:
    """Whether progress may be drawn: stderr is a terminal."""
    return sys.stderr.isatty()


def wants_colour() -> bool | None:
    """None lets click decide by the terminal; NO_COLOR forbids."""
    return False if os.environ.get("NO_COLOR") else None
